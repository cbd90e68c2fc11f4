//! How long a campaign runs, from which seed, and the one line that it leaves.

use std::{fmt::Display, str::FromStr};

use readvault_ambient::{System, random};

use crate::parallel::say;

/// The seed and the counts of one campaign.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    name: &'static str,
    /// Where its choices come from; that of `READVAULT_SEED`, or a new one.
    pub seed: u64,
    /// Whether `READVAULT_LONG` asks for the full count.
    pub long: bool,
}

impl Plan {
    /// The plan of the campaign `name`; says its seed at once, for a run that does not end.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        let drawn = u64::from_le_bytes(random(&System)) >> 16;
        let seed = setting("READVAULT_SEED").unwrap_or(drawn);
        say(format_args!("campaign {name}: seed {seed}"));
        Self { name, seed, long: is_long() }
    }

    /// How many of something to do: `long` of them in a long run, `short` in an ordinary one, or what
    /// `variable` says.
    #[must_use]
    pub fn count(&self, variable: &str, short: u64, long: u64) -> u64 {
        setting(variable).unwrap_or(if self.long { long } else { short })
    }

    /// Whether the case `name` is to be done: all, or those whose name has what `READVAULT_ONLY` says.
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        setting::<String>("READVAULT_ONLY").is_none_or(|only| name.contains(&only))
    }

    /// Leaves the line of a campaign that ended.
    pub fn report(&self, counts: impl Display, violations: usize) {
        let Self { name, seed, .. } = self;
        say(format_args!("campaign {name}: seed {seed}, {counts}, {violations} violations"));
    }
}

fn is_long() -> bool {
    setting::<u8>("READVAULT_LONG").is_some_and(|long| long != 0)
}

#[expect(clippy::disallowed_methods, reason = "a test is configured by its environment")]
fn setting<T: FromStr>(variable: &str) -> Option<T> {
    std::env::var(variable).ok()?.parse().ok()
}
