//! The one commit loop: takes all waiting commits, applies them as one group, syncs once, answers.

use std::{collections::HashMap, fmt, sync::Arc};

use readvault_ambient::Entropy;
use readvault_store::{
    Error, ErrorKind, Result,
    catalog::{Check, Commit, Durability, Outcome, RowKey, Write, change_rows, limits},
};
use rocksdb::{FlushOptions, WriteBatch, WriteOptions};
use tokio::sync::{mpsc, oneshot};

use crate::{
    database::{CHANGES, SYNCED, SYNCED_KEY, Shared},
    fault, log,
};

/// Commits that may wait; more callers wait for a place.
pub(crate) const QUEUE_COMMITS_MAX: usize = 256;
/// Bytes of keys and values after which a group is closed: bounds its memory and its record in the
/// log.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// A commit and the place of its answer.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) commit: Commit,
    pub(crate) answer: oneshot::Sender<Result<Outcome>>,
}

/// The state of the commit loop, which runs on a thread of its own.
pub(crate) struct Writer {
    database: Shared,
    entropy: Arc<dyn Entropy>,
    /// Version of the newest commit.
    last: u64,
    /// Newest version that is known to be durable.
    synced: u64,
    /// Set by the first write that failed: what the log holds behind it is not known, so nothing is
    /// written after it until the catalog is opened anew.
    poisoned: Option<ErrorKind>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("last", &self.last).finish_non_exhaustive()
    }
}

/// Rows that earlier commits of the same group wrote: their version, or none when removed.
type Overlay = HashMap<RowKey, Option<u64>>;

impl Writer {
    /// A writer that goes on after version `last`, all of which is durable.
    pub(crate) fn new(database: Shared, entropy: Arc<dyn Entropy>, last: u64) -> Self {
        Self { database, entropy, last, synced: last, poisoned: None }
    }

    /// Serves `queue` until its senders are gone, then makes everything durable.
    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(first) = queue.blocking_recv() {
            let mut bytes = limits::bytes_of(&first.commit);
            let mut group = vec![first];
            while bytes < GROUP_BYTES_MAX && group.len() < QUEUE_COMMITS_MAX {
                let Ok(job) = queue.try_recv() else { break };
                bytes += limits::bytes_of(&job.commit);
                group.push(job);
            }
            self.serve(group);
        }
        if self.poisoned.is_none() {
            self.close();
        }
    }

    fn serve(&mut self, group: Vec<Job>) {
        if let Some(kind) = self.poisoned {
            return group.into_iter().for_each(|job| answer(job.answer, Err(refusal(kind))));
        }
        let mut batch = WriteBatch::default();
        let mut overlay = Overlay::new();
        let mut version = self.last;
        let mut sync = false;
        let mut answers = Vec::with_capacity(group.len());
        for job in group {
            let outcome = self.judge(&job.commit, &overlay).and_then(|conflict| match conflict {
                Some(row) => Ok(Outcome::Conflict(row)),
                None => {
                    self.add(&mut batch, &mut overlay, &job.commit, version + 1)?;
                    version += 1;
                    sync |= job.commit.durability == Durability::Synced;
                    Ok(Outcome::Applied { version })
                }
            });
            answers.push((job.answer, outcome));
        }
        let written = if batch.is_empty() { Ok(()) } else { self.write(batch, version, sync) };
        for (place, outcome) in answers {
            answer(place, settled(outcome, &written));
        }
    }

    /// The row of the first check that does not hold.
    fn judge(&self, commit: &Commit, overlay: &Overlay) -> Result<Option<RowKey>> {
        for write in &commit.writes {
            // A commit with an unknown table must fail before any of its rows is in the batch.
            let (Write::Put(row, _) | Write::Delete(row)) = write;
            self.database.handle(row.table)?;
        }
        for check in &commit.checks {
            let row = check.row();
            let current = match overlay.get(row) {
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
    fn add(
        &self,
        batch: &mut WriteBatch,
        overlay: &mut Overlay,
        commit: &Commit,
        version: u64,
    ) -> Result<()> {
        if batch.is_empty() {
            // First in the group's record, so that `wal` finds it even where the rest is cut off.
            let (handle, sealer) = self.database.handle(SYNCED)?;
            let value = self.synced.to_le_bytes();
            let sealed = sealer.seal(SYNCED_KEY, version, &value, &*self.entropy);
            batch.put_cf(handle, SYNCED_KEY, sealed);
        }
        for write in &commit.writes {
            match write {
                Write::Put(row, value) => {
                    let (handle, sealer) = self.database.handle(row.table)?;
                    let sealed = sealer.seal(&row.key, version, value, &*self.entropy);
                    batch.put_cf(handle, &row.key, sealed);
                    overlay.insert(row.clone(), Some(version));
                }
                Write::Delete(row) => {
                    let (handle, _) = self.database.handle(row.table)?;
                    batch.delete_cf(handle, &row.key);
                    overlay.insert(row.clone(), None);
                }
            }
        }
        let (handle, sealer) = self.database.handle(CHANGES)?;
        let rows = commit.writes.iter().map(|write| match write {
            Write::Put(row, _) | Write::Delete(row) => row,
        });
        let key = log::change_key(version);
        let value = change_rows::encode(rows);
        batch.put_cf(handle, key, sealer.seal(&key, version, &value, &*self.entropy));
        if let Some(trimmed) = version.checked_sub(log::CHANGES_KEPT) {
            batch.delete_cf(handle, log::change_key(trimmed));
        }
        Ok(())
    }

    /// Writes a group; durable when it returns, if `sync`. A failure poisons this writer.
    fn write(&mut self, batch: WriteBatch, last: u64, sync: bool) -> Result<()> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        if let Err(error) = self.database.db.write_opt(batch, &options) {
            let kind = match fault::kind(&error) {
                ErrorKind::NoSpace => ErrorKind::NoSpace,
                _ => ErrorKind::Unavailable,
            };
            tracing::error!(?kind, "a catalog commit failed; no more are taken until a restart");
            self.poisoned = Some(kind);
            return Err(fault::fault("writing a catalog commit")(error));
        }
        self.last = last;
        if sync {
            self.synced = last;
        }
        Ok(())
    }

    /// Makes ordered commits durable and empties the log, so that the next opening replays nothing.
    fn close(&self) {
        let handles: Result<Vec<_>> =
            self.database.tables().map(|table| Ok(self.database.handle(table)?.0)).collect();
        let flushed = self.database.db.flush_wal(true).is_ok()
            && handles.is_ok_and(|handles| {
                self.database.db.flush_cfs_opt(&handles, &FlushOptions::default()).is_ok()
            });
        if !flushed {
            tracing::warn!("the catalog was closed without a flush; its log will be replayed");
        }
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
    Error::new(kind, "the catalog takes no commits since one failed; it must be opened anew")
}

/// The caller may have gone; then nobody learns the outcome, as the trait says.
fn answer(place: oneshot::Sender<Result<Outcome>>, outcome: Result<Outcome>) {
    drop(place.send(outcome));
}
