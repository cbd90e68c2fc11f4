//! Counts of a campaign.

use std::{collections::BTreeMap, fmt};

use crate::{damage::Damage, judge::Verdict, subject::Class};

#[derive(Default)]
struct Counts {
    unharmed: u64,
    pinpointed: u64,
    told: u64,
}

/// What came of all mutations.
#[derive(Default)]
pub(crate) struct Tally {
    classes: BTreeMap<Class, Counts>,
}

impl Tally {
    pub(crate) fn add(&mut self, name: &str, damage: &Damage, verdict: &Verdict) {
        let counts = self.classes.entry(damage.class).or_default();
        match verdict {
            Verdict::Unharmed => counts.unharmed += 1,
            Verdict::Pinpointed => counts.pinpointed += 1,
            Verdict::Told(text) => {
                counts.told += 1;
                eprintln!("{name}: told without its place: {text}");
            }
            Verdict::Violation(_) => {}
        }
    }

    pub(crate) fn total(&self) -> u64 {
        let each = |counts: &Counts| counts.unharmed + counts.pinpointed + counts.told;
        self.classes.values().map(each).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |part: fn(&Counts) -> u64| self.classes.values().map(part).sum::<u64>();
        let (unharmed, pinpointed) =
            (sum(|counts| counts.unharmed), sum(|counts| counts.pinpointed));
        let told = sum(|counts| counts.told);
        write!(f, "{unharmed} without effect, {pinpointed} pinpointed, {told} told otherwise;")?;
        for (class, Counts { unharmed, pinpointed, told }) in &self.classes {
            write!(f, " {class:?} {unharmed}/{pinpointed}/{told}")?;
        }
        Ok(())
    }
}
