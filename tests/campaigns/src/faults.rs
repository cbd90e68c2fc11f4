//! An observer that lets the k-th operation of a kind fail.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use parking_lot::Mutex;
use readvault_store::disk::observed::{Observer, Operation, Verdict};

const EINTR: i32 = 4;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EDQUOT: i32 = 122;

/// How an operation fails, and which operations can fail so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A create, open, write, read, remove, list or close ends with `EIO`.
    Io,
    /// There is no room for a create, write, link or new directory.
    NoSpace,
    /// The same, and there never is again.
    Full,
    /// The same as [`Fault::NoSpace`], by a quota.
    Quota,
    /// A write takes half of its bytes. RocksDB, whose own files write on, then finds no room.
    Short,
    /// A signal comes before a write took a byte: packs and keys only, as RocksDB's files retry below.
    Signal,
    /// A sync of a file or directory ends with `EIO`.
    Sync,
    /// The same, and all later ones do.
    DeadSync,
    /// A rename ends with `EIO`.
    Rename,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Io,
        Self::NoSpace,
        Self::Full,
        Self::Quota,
        Self::Short,
        Self::Signal,
        Self::Sync,
        Self::DeadSync,
        Self::Rename,
    ];

    fn fits(self, operation: &Operation<'_>) -> bool {
        use Operation as O;
        match self {
            Self::Io => !matches!(
                operation,
                O::Sync(_) | O::SyncDirectory(_) | O::Rename(..) | O::Truncate(..)
            ),
            Self::NoSpace | Self::Full | Self::Quota => matches!(
                operation,
                O::Create(_) | O::Write { .. } | O::Link(..) | O::MakeDirectory(_)
            ),
            Self::Short => matches!(operation, O::Write { .. }),
            Self::Signal => match operation {
                O::Write { path, .. } => {
                    path.iter().all(|part| part != "catalog" && part != "checkpoints")
                }
                _ => false,
            },
            Self::Sync | Self::DeadSync => {
                matches!(operation, O::Sync(_) | O::SyncDirectory(_))
            }
            Self::Rename => matches!(operation, O::Rename(..)),
        }
    }

    fn verdict(self, operation: &Operation<'_>) -> Verdict {
        match (self, operation) {
            (Self::Short, Operation::Write { bytes, .. }) => {
                Verdict::Short((bytes.len() / 2).max(1))
            }
            (Self::NoSpace | Self::Full, _) => Verdict::Fail(ENOSPC),
            (Self::Quota, _) => Verdict::Fail(EDQUOT),
            (Self::Signal, _) => Verdict::Fail(EINTR),
            _ => Verdict::Fail(EIO),
        }
    }

    fn is_lasting(self) -> bool {
        matches!(self, Self::Full | Self::DeadSync)
    }

    /// Whether nobody may notice it.
    #[must_use]
    pub fn is_harmless(self) -> bool {
        self == Self::Signal
    }
}

/// Counts, for each fault, the operations that could fail so.
#[derive(Debug, Default)]
pub struct Tally([AtomicU64; Fault::ALL.len()]);

impl Tally {
    /// The operations that could fail by each fault.
    pub fn counts(&self) -> impl Iterator<Item = (Fault, u64)> {
        Fault::ALL.into_iter().zip(&self.0).map(|(fault, count)| (fault, count.load(SeqCst)))
    }
}

impl Observer for Tally {
    fn begin(&self, operation: &Operation<'_>) -> Verdict {
        for (fault, count) in Fault::ALL.into_iter().zip(&self.0) {
            count.fetch_add(u64::from(fault.fits(operation)), SeqCst);
        }
        Verdict::Go(0)
    }

    fn end(&self, _: &Operation<'_>, _: u64) {}
}

/// Fails one operation, or from one on.
#[derive(Debug)]
pub struct Faults {
    fault: Fault,
    /// Which of the operations that fit fails, from 1.
    which: u64,
    seen: AtomicU64,
    struck: Mutex<Option<String>>,
}

impl Faults {
    /// Lets the `which`-th operation that fits `fault` fail, counted from 1.
    #[must_use]
    pub fn new(fault: Fault, which: u64) -> Self {
        Self { fault, which, seen: AtomicU64::new(0), struck: Mutex::new(None) }
    }

    /// What failed first, if something did.
    pub fn struck(&self) -> Option<String> {
        self.struck.lock().clone()
    }
}

impl Observer for Faults {
    fn begin(&self, operation: &Operation<'_>) -> Verdict {
        if !self.fault.fits(operation) {
            return Verdict::Go(0);
        }
        let number = self.seen.fetch_add(1, SeqCst) + 1;
        let strikes = number == self.which || (self.fault.is_lasting() && number > self.which);
        if !strikes {
            return Verdict::Go(0);
        }
        self.struck.lock().get_or_insert_with(|| brief(operation));
        self.fault.verdict(operation)
    }

    fn end(&self, _: &Operation<'_>, _: u64) {}
}

/// An operation without its bytes.
fn brief(operation: &Operation<'_>) -> String {
    match operation {
        Operation::Write { path, bytes, .. } => {
            format!("write of {} bytes to {}", bytes.len(), path.display())
        }
        other => format!("{other:?}"),
    }
}
