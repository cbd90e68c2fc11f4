//! Bit rot: one file of a vault is damaged, the vault is opened, and everything is read.
//!
//! What may be seen is the right bytes, or an error that tells where the damage is. Never wrong bytes, never a
//! panic, never a file that was acknowledged and is silently absent, never one that was deleted and is back.
//! `READVAULT_MUTATIONS` sets how many, `READVAULT_SEED` and `READVAULT_ONLY` which.

#![allow(clippy::unwrap_used, reason = "a campaign stops at the first surprise")]

mod damage;
mod judge;
mod subject;
mod tally;

use std::{panic::AssertUnwindSafe, path::Path};

use parking_lot::Mutex;
use readvault_campaigns::{
    choice::Choice,
    parallel::{each, within},
    place,
    plan::Plan,
};
use tokio::runtime::Runtime;

use crate::{damage::Damage, judge::Verdict, subject::Subject, tally::Tally};

/// Mutations of an ordinary run and of a long one.
const COUNTS: [u64; 2] = [100, 5000];

#[test]
fn damage_is_told_and_never_served() {
    let plan = Plan::new("bit_rot");
    let count = plan.count("READVAULT_MUTATIONS", COUNTS[0], COUNTS[1]);
    let home = place::directory().unwrap();
    let subject = Subject::build(home.path());
    let tally = Mutex::new(Tally::default());
    let numbers: Vec<_> = (0..count).collect();
    let violations = each(&numbers, |runtime, number| {
        let choice = Choice::new(plan.seed.wrapping_add(number.wrapping_mul(0x9e37_79b9)));
        let damage = Damage::draw(&subject, &choice);
        let name = format!("mutation {number}, {damage}");
        if !plan.takes(&name) {
            return Ok(());
        }
        let place = home.path().join(format!("case-{number}"));
        let verdict = within(&name, || one(runtime, (&subject, &damage), &place));
        std::fs::remove_dir_all(&place).map_err(|cause| format!("{name}: {cause}"))?;
        match verdict {
            Verdict::Violation(what) => Err(format!("{name}: {what}")),
            verdict => {
                tally.lock().add(&name, &damage, &verdict);
                Ok(())
            }
        }
    });
    let tally = tally.into_inner();
    plan.report(format_args!("{} mutations ({tally})", tally.total()), violations.len());
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// Damages a copy of the subject and looks at it.
fn one(runtime: &Runtime, (subject, damage): (&Subject, &Damage), place: &Path) -> Verdict {
    place::copy(&subject.base, place).unwrap();
    damage.apply(subject, place);
    let judged = std::panic::catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(judge::judge(subject, damage, place))
    }));
    judged.unwrap_or_else(|_| Verdict::Violation("a panic".to_owned()))
}
