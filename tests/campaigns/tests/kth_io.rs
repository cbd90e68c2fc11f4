//! Lets every single operation on files fail, each in every way that it can, in every scenario: nothing
//! panics, every error says what to do, and the vault opens again and shows all that it acknowledged.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use readvault_campaigns::{
    choice::Choice,
    crash::{Crash, Loss, materialise},
    failing::Failing,
    faults::{Fault, Faults, Tally},
    history::History,
    journal::Journal,
    lane::{Client, Witness},
    parallel::{each, runtime, within},
    place,
    plan::Plan,
    record,
    scenario::{self, Prepared},
    steps::take,
    verify,
};
use readvault_store::{Error, ErrorKind, disk::observed::Observer};

/// Cases of an ordinary run.
const SAMPLE: u64 = 100;

/// Cases behind the last operation that was counted: background work makes the count vary.
const BEHIND: u64 = 10;

/// Panics of any thread.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// One operation that fails.
struct Case<'a> {
    prepared: &'a Prepared,
    fault: Fault,
    which: u64,
}

impl Case<'_> {
    fn name(&self) -> String {
        format!("{}, {:?} {}", self.prepared.scenario.name, self.fault, self.which)
    }
}

#[test]
fn any_operation_may_fail() {
    let plan = Plan::new("kth_io");
    watch_panics();
    let prepared: Vec<_> = scenario::all().into_iter().map(|one| one.prepare().unwrap()).collect();
    let mut cases = cases(&prepared);
    cases.retain(|case| plan.takes(&case.name()));
    let all = cases.len() as u64;
    let wanted = plan.count("READVAULT_KTH_IO", SAMPLE, all).min(all);
    let choice = Choice::new(plan.seed);
    for place in 0..usize::try_from(wanted).unwrap() {
        let other = place + choice.index(cases.len() - place);
        cases.swap(place, other);
    }
    cases.truncate(usize::try_from(wanted).unwrap());
    let (struck, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    let violations = each(&cases, |_, case| {
        let outcome = within(case.name(), || run(case))?;
        struck.fetch_add(u64::from(outcome.struck), SeqCst);
        refused.fetch_add(outcome.refused, SeqCst);
        Ok(())
    });
    let counts = format!(
        "{} scenarios, {wanted} of {all} cases, {} failures injected, {} operations refused",
        prepared.len(),
        struck.load(SeqCst),
        refused.load(SeqCst)
    );
    plan.report(counts, violations.len());
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    assert_eq!(PANICS.load(SeqCst), 0, "nothing panics");
    assert!(struck.load(SeqCst) > wanted / 2, "the chosen operations do happen");
}

fn watch_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, SeqCst);
        before(panic);
    }));
}

/// Every operation of every scenario, in every way that it can fail.
fn cases(prepared: &[Prepared]) -> Vec<Case<'_>> {
    let mut cases = Vec::new();
    for prepared in prepared {
        let tally = Arc::new(Tally::default());
        let directory = prepared.copy().unwrap();
        let witness = prepared.witness.fork();
        let refused = act(prepared, directory.path(), tally.clone(), &witness);
        assert!(refused.is_empty(), "{}: {refused:?}", prepared.scenario.name);
        for (fault, count) in tally.counts() {
            let whiches = 1..=count + BEHIND;
            cases.extend(whiches.map(|which| Case { prepared, fault, which }));
        }
    }
    let faults: BTreeSet<_> = cases.iter().map(|case| format!("{:?}", case.fault)).collect();
    assert!(prepared.len() >= 12 && faults.len() == Fault::ALL.len());
    cases
}

/// What became of a case.
struct Outcome {
    struck: bool,
    refused: u64,
}

fn run(case: &Case<'_>) -> Result<Outcome, String> {
    let Case { prepared, fault, which } = case;
    let directory = prepared.copy().map_err(|cause| cause.to_string())?;
    let before = record::files(directory.path()).map_err(|cause| cause.to_string())?;
    let faults = Arc::new(Faults::new(*fault, *which));
    let witness = Arc::new(prepared.witness.fork());
    let journal = Arc::new(Journal::new(directory.path(), witness.clone()));
    let failing = Failing { faults: faults.clone(), journal: journal.clone() };
    let refused = act(prepared, directory.path(), Arc::new(failing), &witness);
    let struck = faults.struck();
    let tell = |complaint: String| {
        let what = struck.as_deref().unwrap_or("nothing");
        format!("{}, {fault:?} {which} ({what}): {complaint}", prepared.scenario.name)
    };
    for error in &refused {
        judge(error, *fault, struck.is_some()).map_err(&tell)?;
    }
    reopen(prepared, directory.path(), &witness).map_err(&tell)?;
    // The power goes, too: of a failed sync nothing is left.
    let history = History::new(before, &journal.entries());
    let crash = Crash { at: witness.ticks.now(), loss: Loss::All };
    let directory = place::directory().map_err(|cause| cause.to_string())?;
    materialise(&crash.state(&history), &history, crash.at, directory.path())
        .map_err(|cause| cause.to_string())?;
    let left = reopen(prepared, directory.path(), &witness);
    left.map_err(|complaint| tell(format!("after a power loss: {complaint}")))?;
    Ok(Outcome { struck: struck.is_some(), refused: refused.len() as u64 })
}

/// Opens the vault with nothing failing, compares, writes to it, closes it.
fn reopen(prepared: &Prepared, directory: &Path, witness: &Witness) -> Result<(), String> {
    let home = prepared.scenario.home(directory);
    runtime().block_on(async {
        let open = verify::check(&home, witness, witness.ticks.now()).await?;
        verify::goes_on(&open).await?;
        open.close().await.map_err(|error| verify::told(&error))
    })
}

/// Opens the vault over watched files and does the scenario's steps, whatever becomes of each; gives all
/// errors.
fn act(
    prepared: &Prepared,
    directory: &Path,
    observer: Arc<dyn Observer>,
    witness: &Witness,
) -> Vec<Error> {
    let home = prepared.scenario.home(directory).observed(observer);
    let mut refused = Vec::new();
    // The end of its runtime waits for the work in the background that a failed upload leaves.
    let runtime = runtime();
    runtime
        .block_on(async {
            let open = home.open().await?;
            let client = match &prepared.client {
                Some(client) => client.clone(),
                None => Client::new("a", &open).await?,
            };
            for step in &prepared.scenario.then {
                let answers = take(step, &client, &open, witness).await;
                refused.extend(answers.into_iter().filter_map(Result::err));
            }
            open.close().await
        })
        .unwrap_or_else(|error| refused.push(error));
    refused
}

/// Whether an error says what the caller should do about this fault.
fn judge(error: &Error, fault: Fault, struck: bool) -> Result<(), String> {
    let fits = match error.kind() {
        ErrorKind::Unavailable => true,
        ErrorKind::NoSpace => {
            matches!(fault, Fault::NoSpace | Fault::Full | Fault::Quota | Fault::Short)
        }
        _ => false,
    };
    if fits && struck && !fault.is_harmless() {
        return Ok(());
    }
    Err(format!("the wrong error: {}", verify::told(error)))
}
