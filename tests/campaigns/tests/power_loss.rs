//! Takes the power away at every moment of recorded workloads, with every loss that a disk allows, and opens
//! the real vault over what is left: it shows all that was acknowledged before, and the rest as a whole or
//! not at all.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use readvault_campaigns::{
    choice::Choice,
    crash::{Crash, Loss, materialise},
    parallel::{each, within},
    place,
    plan::Plan,
    record::{self, Recorded},
    steps::{self, Step},
    verify,
};
use tokio::runtime::Runtime;

/// States of an ordinary run.
const SAMPLE: u64 = 600;

/// States of a long one.
const LONG: u64 = 100_000;

/// Workloads that an ordinary run records, half of them openings after an earlier loss.
const WORKLOADS: u64 = 4;

/// Workloads that a long run records.
const WORKLOADS_LONG: u64 = 48;

/// Of so many states one is written to, too.
const WRITTEN_TO: usize = 16;

/// A state of a workload.
struct Case<'a> {
    recorded: &'a Recorded,
    workload: u64,
    number: usize,
    crash: Crash,
}

#[test]
fn no_acknowledged_work_is_lost_when_the_power_goes() {
    let plan = Plan::new("power_loss");
    let wanted = plan.count("READVAULT_POWER_LOSS", SAMPLE, LONG);
    let workloads = if plan.long { WORKLOADS_LONG } else { WORKLOADS };
    let recorded = recordings(plan.seed, workloads);
    let choice = Choice::new(plan.seed);
    let cases: Vec<_> = (0..wanted).map(|number| case(&recorded, &choice, number)).collect();
    let violations = each(&cases, |runtime, case| {
        let Case { workload, number, crash, .. } = case;
        let name = format!("state {number}, workload {workload}, {crash:?}");
        within(&name, || check(runtime, case)).map_err(|complaint| format!("{name}: {complaint}"))
    });
    let ticks: u64 = recorded.iter().map(|one| one.ticks.end - one.ticks.start).sum();
    let acknowledged: usize = recorded.iter().map(|one| one.witness.oracle.acknowledged()).sum();
    let counts = format!(
        "{wanted} states, {workloads} workloads, {ticks} moments, {acknowledged} acknowledged"
    );
    plan.report(counts, violations.len());
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// New vaults, and openings of what a loss left of the one before.
fn recordings(seed: u64, workloads: u64) -> Vec<Recorded> {
    let mut recorded: Vec<Recorded> = Vec::new();
    for number in 0..workloads {
        let choice = Choice::new(seed.wrapping_add(number));
        let parts = [part(&choice), part(&choice)];
        let earlier = recorded.last().filter(|_| number % 2 == 1);
        let next = within(format!("workload {number}"), || match earlier {
            Some(earlier) => record::after(earlier, &crash(earlier, &choice), &parts[..1]),
            None => record::new_vault(&parts),
        });
        recorded.push(next.unwrap_or_else(|error| panic!("workload {number}: {error}")));
    }
    recorded
}

/// A few random steps, and enough rows that RocksDB writes files of them.
fn part(choice: &Choice) -> Vec<Step> {
    let mut steps = steps::random(choice, 6);
    steps.push(Step::Many(3, 200));
    steps
}

fn crash(recorded: &Recorded, choice: &Choice) -> Crash {
    let length = recorded.ticks.end - recorded.ticks.start;
    let at = recorded.ticks.start + choice.below(length + 1);
    let loss = match choice.below(10) {
        0 => Loss::All,
        1 => Loss::None,
        2 => Loss::Bytes,
        3 => Loss::Names,
        _ => Loss::Drawn(choice.below(u64::MAX)),
    };
    Crash { at, loss }
}

fn case<'a>(recorded: &'a [Recorded], choice: &Choice, number: u64) -> Case<'a> {
    let workload = choice.index(recorded.len());
    let recorded = &recorded[workload];
    let number = usize::try_from(number).unwrap();
    Case { recorded, workload: workload as u64, number, crash: crash(recorded, choice) }
}

fn check(runtime: &Runtime, case: &Case<'_>) -> Result<(), String> {
    let Case { recorded, number, crash, .. } = case;
    let directory = place::directory().map_err(|cause| cause.to_string())?;
    let state = crash.state(&recorded.history);
    materialise(&state, &recorded.history, crash.at, directory.path())
        .map_err(|cause| cause.to_string())?;
    let home = readvault_campaigns::home::Home::new(directory.path());
    runtime.block_on(async {
        let open = verify::check(&home, &recorded.witness, crash.at).await?;
        if number.is_multiple_of(WRITTEN_TO) {
            verify::goes_on(&open).await?;
        }
        open.close().await.map_err(|error| verify::told(&error))
    })
}
