//! An observer that writes down every change of every file, in one order.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use readvault_store::disk::observed::{Observer, Operation, Verdict};

use crate::lane::Witness;

/// A change of files, or a wait for the disk. Paths are those below the data directory.
#[derive(Clone, Debug)]
pub enum Change {
    /// The name has a new empty file; an older one of this name is emptied instead.
    Create(PathBuf),
    /// Bytes at an offset, or at the end.
    Write(PathBuf, Option<u64>, Bytes),
    /// The file is cut or filled up.
    Truncate(PathBuf, u64),
    /// The file's bytes are durable when it ends.
    Sync(PathBuf),
    /// The file's bytes were to be durable and are not: what was written since the last wait never will be,
    /// as Linux takes such pages for clean.
    FailedSync(PathBuf),
    /// The first name becomes the second.
    Rename(PathBuf, PathBuf),
    /// The file of the first name has the second, too.
    Link(PathBuf, PathBuf),
    /// The name ends.
    Remove(PathBuf),
    /// A directory is there; taken to be durable at once.
    MakeDirectory(PathBuf),
    /// The names in the directory are durable when it ends.
    SyncDirectory(PathBuf),
}

/// A change and when it was under way.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The tick at which it began.
    pub begin: u64,
    /// The tick at which it had succeeded.
    pub end: Option<u64>,
    /// What.
    pub change: Change,
}

/// All changes below one directory.
#[derive(Debug)]
pub struct Journal {
    root: PathBuf,
    witness: Arc<Witness>,
    entries: Mutex<Vec<Entry>>,
}

/// The ticket of what is not written down.
const UNWRITTEN: u64 = u64::MAX;

impl Journal {
    /// A journal of what happens below `root`, by the clock of `witness`.
    #[must_use]
    pub fn new(root: &Path, witness: Arc<Witness>) -> Self {
        Self { root: root.to_owned(), witness, entries: Mutex::default() }
    }

    /// Notes that a sync failed.
    pub fn failed_sync(&self, path: &Path) {
        let mut entries = self.entries.lock();
        let begin = self.witness.ticks.next();
        entries.push(Entry { begin, end: None, change: Change::FailedSync(self.below(path)) });
    }

    /// What was written down so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().clone()
    }

    fn below(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_owned()
    }

    fn change(&self, operation: &Operation<'_>) -> Option<Change> {
        Some(match *operation {
            Operation::Create(path) => Change::Create(self.below(path)),
            Operation::Write { path, offset, bytes } => {
                Change::Write(self.below(path), offset, Bytes::copy_from_slice(bytes))
            }
            Operation::Truncate(path, length) => Change::Truncate(self.below(path), length),
            Operation::Sync(path) => Change::Sync(self.below(path)),
            Operation::Rename(from, to) => Change::Rename(self.below(from), self.below(to)),
            Operation::Link(from, to) => Change::Link(self.below(from), self.below(to)),
            Operation::Remove(path) => Change::Remove(self.below(path)),
            Operation::MakeDirectory(path) => Change::MakeDirectory(self.below(path)),
            Operation::SyncDirectory(path) => Change::SyncDirectory(self.below(path)),
            Operation::Open(_) | Operation::Close(_) | Operation::Read(_) | Operation::List(_) => {
                return None;
            }
        })
    }
}

impl Observer for Journal {
    fn begin(&self, operation: &Operation<'_>) -> Verdict {
        let Some(change) = self.change(operation) else { return Verdict::Go(UNWRITTEN) };
        let mut entries = self.entries.lock();
        // Under the lock, so that the entries stand in the order of their ticks.
        let begin = self.witness.ticks.next();
        entries.push(Entry { begin, end: None, change });
        Verdict::Go(entries.len() as u64 - 1)
    }

    fn end(&self, _: &Operation<'_>, ticket: u64) {
        if ticket == UNWRITTEN {
            return;
        }
        let mut entries = self.entries.lock();
        let end = self.witness.ticks.next();
        let index = usize::try_from(ticket).expect("an index");
        entries[index].end = Some(end);
    }
}
