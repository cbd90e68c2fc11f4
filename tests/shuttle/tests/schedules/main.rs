//! The concurrent pieces of the store under a scheduler that tries many orders of their steps.
//!
//! Each scenario runs with random schedules and with PCT at depth 3, which finds every fault that needs at
//! most three orderings to go wrong with a known probability. `READVAULT_SCHEDULES` sets how many of each
//! a scenario takes, `READVAULT_SEED` which, `READVAULT_LONG=1` takes many.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod files;
mod garbage;
mod keys;
mod packs;
#[path = "../../../../store/tests/at_rest/sample.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod sample;
mod world;

use std::sync::Arc;

use shuttle::{
    Config, MaxSteps, Runner,
    scheduler::{PctScheduler, RandomScheduler},
};

/// Orderings that must be just so for a fault to show, at most.
const PCT_DEPTH: usize = 3;

/// Schedules of each scheduler and scenario: in a short run and in a long one.
const SCHEDULES: [usize; 2] = [150, 13_000];

/// Sealing and parsing take more stack than shuttle gives by itself.
const STACK_BYTES: usize = 512 << 10;

/// A seed that no earlier run had.
fn drawn() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos());
    since as u64 >> 16
}

/// Runs `scenario` with many schedules.
fn check(name: &str, scenario: impl Fn() + Send + Sync + 'static) {
    let variable = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let long = usize::from(variable("READVAULT_LONG") == Some(1));
    let schedules = variable("READVAULT_SCHEDULES").map_or(SCHEDULES[long], |n| n as usize);
    let seed = variable("READVAULT_SEED").unwrap_or_else(drawn);
    eprintln!("campaign schedules {name}: seed {seed}");
    let scenario = Arc::new(scenario);
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    config.max_steps = MaxSteps::FailAfter(1_000_000);
    let one = scenario.clone();
    let random = RandomScheduler::new_from_seed(seed, schedules);
    let taken = Runner::new(random, config.clone()).run(move || one());
    let pct = PctScheduler::new_from_seed(seed, PCT_DEPTH, schedules);
    let taken = taken + Runner::new(pct, config).run(move || scenario());
    eprintln!("campaign schedules {name}: seed {seed}, {taken} schedules, 0 violations");
}
