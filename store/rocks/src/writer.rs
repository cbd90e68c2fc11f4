//! The one commit loop: takes all waiting commits, applies them as one group, syncs once, answers.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use readvault_ambient::Entropy;
use readvault_store::{
    Error, ErrorKind, Result,
    catalog::{Check, Commit, Durability, Outcome, RowKey, Write, change_rows, limits},
    space::{Space, free_bytes},
};
use rocksdb::{FlushOptions, WriteBatch, WriteOptions};
use tokio::sync::{mpsc, oneshot};

use crate::{
    database::{CHANGES, Database, SYNCED, SYNCED_KEY},
    fault, log,
    open::Opening,
    slot::Slot,
};

/// Commits that may wait; more callers wait for a place.
pub(crate) const QUEUE_COMMITS_MAX: usize = 256;
/// Bytes of keys and values after which a group is closed: bounds its memory and its record in the
/// log.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// Pause between two looks for commits while none can be taken.
const BROKEN_PAUSE: Duration = Duration::from_millis(100);
/// Such looks between two tries to open the catalog anew.
const LOOKS_A_TRY: u32 = 10;
/// Pause after an opening that failed.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);
/// Free bytes, beyond twice those of the log, with which an opening is tried on a full disk.
const REOPEN_BYTES_FREE: u64 = 1 << 20;

/// A commit and the place of its answer.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) commit: Commit,
    pub(crate) answer: oneshot::Sender<Result<Outcome>>,
}

/// What the writer shares with the catalog in front of it.
pub(crate) struct Parts {
    pub(crate) slot: Arc<Slot>,
    pub(crate) opening: Opening,
    /// Lets its reserve go when a write meets a full disk.
    pub(crate) space: Arc<OnceLock<Arc<Space>>>,
}

/// The state of the commit loop, which runs on a thread of its own.
pub(crate) struct Writer {
    parts: Parts,
    /// Version of the newest commit.
    last: u64,
    /// Newest version that is known to be durable.
    synced: u64,
    /// Set by a write that failed: what the log holds behind it is not known, so nothing is written
    /// after it until the catalog was opened anew.
    broken: Option<Broken>,
}

/// Why no commits are taken.
#[derive(Clone, Copy, Debug)]
struct Broken {
    kind: ErrorKind,
    /// It opens without commits that were answered: only a restart may go on.
    lost: bool,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("last", &self.last).finish_non_exhaustive()
    }
}

/// Rows that earlier commits of the same group wrote: their version, or none when removed.
type Overlay = HashMap<RowKey, Option<u64>>;

/// What became of one try to apply a group.
struct Attempt {
    /// For each commit, its outcome if the group was written.
    outcomes: Vec<Result<Outcome>>,
    /// Version of the newest commit if the group was written.
    version: u64,
    written: Result<()>,
}

impl Writer {
    /// A writer that goes on after version `last`, all of which is durable.
    pub(crate) fn new(parts: Parts, last: u64) -> Self {
        Self { parts, last, synced: last, broken: None }
    }

    /// Serves `queue` until its senders are gone, then makes everything durable.
    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(first) = self.next(&mut queue) {
            let mut bytes = limits::bytes_of(&first.commit);
            let mut group = vec![first];
            while bytes < GROUP_BYTES_MAX && group.len() < QUEUE_COMMITS_MAX {
                let Ok(job) = queue.try_recv() else { break };
                bytes += limits::bytes_of(&job.commit);
                group.push(job);
            }
            self.serve(group);
        }
        if self.broken.is_none()
            && let Some(database) = self.parts.slot.now()
        {
            close(&database);
        }
    }

    /// The next commit. While none can be taken, the catalog is opened anew as soon as that is possible,
    /// whether or not somebody asks: reads may wait for it.
    fn next(&mut self, queue: &mut mpsc::Receiver<Job>) -> Option<Job> {
        let mut looks = 0;
        while self.broken.is_some_and(|broken| !broken.lost) {
            match queue.try_recv() {
                Ok(job) => return Some(job),
                Err(mpsc::error::TryRecvError::Disconnected) => return None,
                Err(mpsc::error::TryRecvError::Empty) => std::thread::sleep(BROKEN_PAUSE),
            }
            looks += 1;
            if looks % LOOKS_A_TRY == 0 {
                self.open_anew();
            }
        }
        queue.blocking_recv()
    }

    fn serve(&mut self, group: Vec<Job>) {
        if self.broken.is_some() && !self.open_anew() {
            let kind = self.broken.map_or(ErrorKind::Unavailable, |broken| broken.kind);
            return group.into_iter().for_each(|job| answer(job.answer, Err(refusal(kind))));
        }
        let mut attempt = self.attempt(&group);
        if attempt.written.is_err() && self.open_anew() {
            // The group is one record of the log: what was opened holds all of it or nothing.
            if self.last >= attempt.version {
                attempt.written = Ok(());
            } else {
                attempt = self.attempt(&group);
            }
        }
        let Attempt { outcomes, written, .. } = attempt;
        for (job, outcome) in group.into_iter().zip(outcomes) {
            answer(job.answer, settled(outcome, &written));
        }
    }

    /// Applies a group as one batch.
    fn attempt(&mut self, group: &[Job]) -> Attempt {
        let Some(database) = self.parts.slot.now() else {
            let refused = || refusal(ErrorKind::Unavailable);
            let outcomes = group.iter().map(|_| Err(refused())).collect();
            return Attempt { outcomes, version: self.last, written: Err(refused()) };
        };
        let mut building = Building {
            database: &database,
            entropy: &*self.parts.opening.entropy,
            synced: self.synced,
            batch: WriteBatch::default(),
            overlay: Overlay::new(),
        };
        let mut version = self.last;
        let mut sync = false;
        let mut outcomes = Vec::with_capacity(group.len());
        for job in group {
            let outcome = building.judge(&job.commit).and_then(|conflict| match conflict {
                Some(row) => Ok(Outcome::Conflict(row)),
                None => {
                    building.add(&job.commit, version + 1)?;
                    version += 1;
                    sync |= job.commit.durability == Durability::Synced;
                    Ok(Outcome::Applied { version })
                }
            });
            outcomes.push(outcome);
        }
        let batch = building.batch;
        let written =
            if batch.is_empty() { Ok(()) } else { self.write(&database, batch, version, sync) };
        Attempt { outcomes, version, written }
    }

    /// Writes a group; durable when it returns, if `sync`. After a failure the catalog must be opened
    /// anew.
    fn write(
        &mut self,
        database: &Database,
        batch: WriteBatch,
        last: u64,
        sync: bool,
    ) -> Result<()> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        if let Err(error) = database.db.write_opt(batch, &options) {
            let kind = match fault::kind(&error) {
                ErrorKind::NoSpace => ErrorKind::NoSpace,
                _ => ErrorKind::Unavailable,
            };
            tracing::error!(?kind, "a catalog commit failed; the catalog is opened anew");
            self.broken = Some(Broken { kind, lost: false });
            return Err(fault::fault("writing a catalog commit")(error));
        }
        self.last = last;
        if sync {
            self.synced = last;
        }
        Ok(())
    }

    /// Opens the catalog anew after a failed write; true when commits go on. Reads go on with what is
    /// open until then, and wait for the moment of the change.
    fn open_anew(&mut self) -> bool {
        let Some(broken) = self.broken else { return true };
        if broken.lost || (broken.kind == ErrorKind::NoSpace && !self.parts.has_room()) {
            return false;
        }
        // Reads go on with what is open for as long as the disk takes nothing.
        if !self.parts.opening.takes_writes() {
            return false;
        }
        if self.parts.slot.now().is_some() {
            let Some(old) = self.parts.slot.take() else { return false };
            drop(old);
        }
        match self.parts.opened() {
            Ok((database, last)) if last >= self.last => {
                self.parts.slot.put(database);
                (self.last, self.synced) = (last, last);
                self.broken = None;
                tracing::info!(version = last, "the catalog takes commits again");
                true
            }
            Ok((database, last)) => {
                self.parts.slot.put(database);
                tracing::error!(last, known = self.last, "the catalog lost commits: restart it");
                self.broken = Some(Broken { lost: true, ..broken });
                false
            }
            Err(cause) => {
                tracing::warn!(%cause, kind = ?cause.kind(), "the catalog can't be opened anew yet");
                match self.parts.opening.open_to_read() {
                    Ok(database) => self.parts.slot.put(database),
                    Err(cause) => tracing::error!(%cause, "the catalog can't be read"),
                }
                std::thread::sleep(REOPEN_PAUSE);
                false
            }
        }
    }
}

impl Parts {
    /// Whether the disk has room for an opening; lets the reserve go for it.
    fn has_room(&self) -> bool {
        if let Some(space) = self.space.get() {
            space.met_full();
        }
        let needed = 2 * self.opening.log_bytes() + REOPEN_BYTES_FREE;
        free_bytes(self.opening.directory()).is_ok_and(|free| free >= needed)
    }

    /// The catalog opened anew, and the newest version in it.
    fn opened(&self) -> Result<(Database, u64)> {
        let database = self.opening.open()?;
        let last = log::last_version(&database)?;
        Ok((database, last))
    }
}

/// The batch of a group while it is built.
struct Building<'a> {
    database: &'a Database,
    entropy: &'a dyn Entropy,
    synced: u64,
    batch: WriteBatch,
    overlay: Overlay,
}

impl Building<'_> {
    /// The row of the first check that does not hold.
    fn judge(&self, commit: &Commit) -> Result<Option<RowKey>> {
        for write in &commit.writes {
            // A commit with an unknown table must fail before any of its rows is in the batch.
            let (Write::Put(row, _) | Write::Delete(row)) = write;
            self.database.handle(row.table)?;
        }
        for check in &commit.checks {
            let row = check.row();
            let current = match self.overlay.get(row) {
                Some(version) => *version,
                None => self.database.get(row, None)?.map(|row| row.version),
            };
            let holds = match check {
                Check::Absent(_) => current.is_none(),
                Check::Version(_, version) => current == Some(*version),
            };
            if !holds {
                return Ok(Some(row.clone()));
            }
        }
        Ok(None)
    }

    /// Adds the rows of `commit` and its entry of the change log to the group's batch.
    fn add(&mut self, commit: &Commit, version: u64) -> Result<()> {
        let Self { database, entropy, batch, overlay, .. } = self;
        if batch.is_empty() {
            // First in the group's record, so that `wal` finds it even where the rest is cut off.
            let (handle, sealer) = database.handle(SYNCED)?;
            let value = self.synced.to_le_bytes();
            let sealed = sealer.seal(SYNCED_KEY, version, &value, *entropy);
            batch.put_cf(handle, SYNCED_KEY, sealed);
        }
        for write in &commit.writes {
            match write {
                Write::Put(row, value) => {
                    let (handle, sealer) = database.handle(row.table)?;
                    let sealed = sealer.seal(&row.key, version, value, *entropy);
                    batch.put_cf(handle, &row.key, sealed);
                    overlay.insert(row.clone(), Some(version));
                }
                Write::Delete(row) => {
                    let (handle, _) = database.handle(row.table)?;
                    batch.delete_cf(handle, &row.key);
                    overlay.insert(row.clone(), None);
                }
            }
        }
        let (handle, sealer) = database.handle(CHANGES)?;
        let rows = commit.writes.iter().map(|write| match write {
            Write::Put(row, _) | Write::Delete(row) => row,
        });
        let key = log::change_key(version);
        let value = change_rows::encode(rows);
        batch.put_cf(handle, key, sealer.seal(&key, version, &value, *entropy));
        if let Some(trimmed) = version.checked_sub(log::CHANGES_KEPT) {
            batch.delete_cf(handle, log::change_key(trimmed));
        }
        Ok(())
    }
}

/// Makes ordered commits durable and empties the log, so that the next opening replays nothing.
fn close(database: &Database) {
    let handles: Result<Vec<_>> =
        database.tables().map(|table| Ok(database.handle(table)?.0)).collect();
    let flushed = database.db.flush_wal(true).is_ok()
        && handles.is_ok_and(|handles| {
            database.db.flush_cfs_opt(&handles, &FlushOptions::default()).is_ok()
        });
    if !flushed {
        tracing::warn!("the catalog was closed without a flush; its log will be replayed");
    }
}

/// What a commit is answered once its group is `written`.
fn settled(outcome: Result<Outcome>, written: &Result<()>) -> Result<Outcome> {
    match (outcome, written) {
        (outcome, Ok(())) => outcome,
        // The record may have reached the disk although the write or the sync failed.
        (Ok(Outcome::Applied { .. }), Err(_)) => Ok(Outcome::Unknown),
        // A conflict may rest on a commit of this group that never came to be.
        (Ok(_), Err(error)) => Err(refusal(error.kind())),
        (Err(error), Err(_)) => Err(error),
    }
}

fn refusal(kind: ErrorKind) -> Error {
    let kind = if kind == ErrorKind::NoSpace { kind } else { ErrorKind::Unavailable };
    Error::new(kind, "the catalog takes no commits until it is opened anew")
}

/// The caller may have gone; then nobody learns the outcome, as the trait says.
fn answer(place: oneshot::Sender<Result<Outcome>>, outcome: Result<Outcome>) {
    drop(place.send(outcome));
}
