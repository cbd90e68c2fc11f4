//! Many small independent cases, on all cores.

use std::{
    fmt::Display,
    io::Write,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};

/// Violations after which a campaign stops looking for more.
const VIOLATIONS_MAX: usize = 20;

/// Threads for each core: many cases wait, above all RocksDB, which closes some seconds after it met a full disk.
const THREADS_A_CORE: usize = 8;

/// Times that a long run says how far it is, and the cases that it does at least in between.
const TOLD_MAX: usize = 20;
const TOLD_AFTER: usize = 500;

/// How long one case may take: far more than the longest, on a machine that does other things, too.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Does `work` for each of `cases`, in no order, and gives the violations that it found. Each thread brings a
/// runtime of its own.
pub fn each<C: Sync>(
    cases: &[C],
    work: impl Fn(&Runtime, &C) -> Result<(), String> + Sync,
) -> Vec<String> {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let violations = Mutex::new(Vec::new());
    let told_after = TOLD_AFTER.max(cases.len() / TOLD_MAX);
    let threads = THREADS_A_CORE * thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let runtime = runtime();
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                    if violations.lock().len() >= VIOLATIONS_MAX {
                        break;
                    }
                    if let Err(violation) = work(&runtime, case) {
                        violations.lock().push(violation);
                    }
                    let done = done.fetch_add(1, Ordering::SeqCst) + 1;
                    if done % told_after == 0 {
                        let found = violations.lock().len();
                        say(format_args!("{done} of {} cases, {found} violations", cases.len()));
                    }
                }
            });
        }
    });
    violations.into_inner()
}

/// A runtime on this thread alone, with a pool for work that blocks.
#[must_use]
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Does `act`; ends the whole run, and says which case it was, when that takes longer than [`PATIENCE`].
pub fn within<T>(name: impl Display + Sync, act: impl FnOnce() -> T) -> T {
    let (done, waits) = mpsc::sync_channel::<()>(0);
    thread::scope(|scope| {
        let name = &name;
        scope.spawn(move || {
            if waits.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                say(format_args!("{name} does not end"));
                std::process::abort();
            }
        });
        let result = act();
        drop(done);
        result
    })
}

/// A line that is seen even when the run does not end: the test harness does not keep it back.
pub fn say(line: impl Display) {
    // There is nowhere else to say that this failed.
    drop(writeln!(std::io::stderr(), "{line}"));
}
