//! The catalog itself: reads on the caller's thread, commits through the writer's.

use std::{
    fmt,
    path::Path,
    sync::{Arc, OnceLock},
    thread::JoinHandle,
};

use async_trait::async_trait;
use readvault_ambient::Entropy;
use readvault_store::{
    Error, ErrorKind, Result,
    catalog::{
        Catalog, Change, Commit, Fold, Outcome, Page, Row, RowKey, ScanRange, Table, fold, limits,
        row::RowSealer,
    },
    space::Space,
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    database::Shared,
    fault::fault,
    log,
    open::{self, Opening},
    slot::Slot,
    writer::{Job, Parts, QUEUE_COMMITS_MAX, Writer},
};

/// A catalog in one directory, open in one process.
///
/// `commit` queues for one thread, which applies all that wait as one group with one sync of the
/// log; the
/// other methods read on the caller's thread, from RocksDB's caches where it can. After a write that
/// failed the catalog is opened anew: what the log then holds settles the commits that were in doubt.
/// Dropping it waits for the commits already taken, then flushes and closes.
pub struct RocksCatalog {
    slot: Arc<Slot>,
    space: Arc<OnceLock<Arc<Space>>>,
    queue: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
}

impl RocksCatalog {
    /// Opens the catalog in `directory`, or makes a new one; blocks for as long as the log takes to
    /// replay, so an async caller does it before it serves. A table that is not there yet is added.
    ///
    /// # Errors
    /// `KeyUnavailable` when the files were written under another catalog key; `Corrupt` when a
    /// file is
    /// damaged or when acknowledged commits are known to be missing from the log; `InvalidInput`
    /// for a
    /// table whose name begins with `rv.`; `NoSpace`; `Unavailable`, also while another process
    /// has it
    /// open.
    pub fn open(
        directory: &Path,
        tables: &[Table],
        sealer: Arc<RowSealer>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        Self::open_at((directory.into(), 0), tables, sealer, entropy)
    }

    /// The same, and every commit from here on has a version above `floor`: for a catalog that is rebuilt
    /// below what was acknowledged before.
    ///
    /// # Errors
    /// As [`RocksCatalog::open`].
    pub fn open_above(
        directory: &Path,
        tables: &[Table],
        keys: (Arc<RowSealer>, Arc<dyn Entropy>),
        floor: u64,
    ) -> Result<Self> {
        let (sealer, entropy) = keys;
        Self::open_at((directory.into(), floor), tables, sealer, entropy)
    }

    /// As [`RocksCatalog::open`], with an observer of its files.
    ///
    /// # Errors
    /// As [`RocksCatalog::open`], and what the observer makes fail.
    #[cfg(feature = "testing")]
    pub fn open_observed(
        observed: open::Observed<'_>,
        tables: &[Table],
        sealer: Arc<RowSealer>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        Self::open_at((observed.into(), 0), tables, sealer, entropy)
    }

    fn open_at(
        (place, floor): (open::Place, u64),
        tables: &[Table],
        sealer: Arc<RowSealer>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        let opening = Opening { place, tables: tables.to_vec(), sealer, entropy };
        let database = opening.open()?;
        log::raise(&database, floor, &*opening.entropy)?;
        let last = log::last_version(&database)?;
        let (slot, space) = (Arc::new(Slot::new(database)), Arc::new(OnceLock::new()));
        let (queue, jobs) = mpsc::channel(QUEUE_COMMITS_MAX);
        let parts = Parts { slot: Arc::clone(&slot), opening, space: Arc::clone(&space) };
        let writer = Writer::new(parts, last);
        let writer = std::thread::Builder::new()
            .name("catalog-writer".to_owned())
            .spawn(move || writer.run(jobs))
            .map_err(|cause| {
                Error::new(ErrorKind::Unavailable, "starting the catalog writer").because(cause)
            })?;
        Ok(Self { slot, space, queue: Some(queue), writer: Some(writer) })
    }

    /// Bytes of memory that RocksDB holds, by part; nothing while the catalog is opened anew.
    #[must_use]
    pub fn memory(&self) -> Vec<(&'static str, u64)> {
        self.slot.now().map(|database| database.memory()).unwrap_or_default()
    }

    /// Lets the reserve of `space` go when a commit meets a full disk. Said once, before the first commit.
    pub fn reserve(&self, space: Arc<Space>) {
        // A second one is dropped: the first is of the same disk.
        let _ = self.space.set(space);
    }
}

impl fmt::Debug for RocksCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksCatalog").field("database", &self.slot.now()).finish_non_exhaustive()
    }
}

impl Drop for RocksCatalog {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the catalog writer ended by a panic");
        }
    }
}

#[async_trait]
impl Catalog for RocksCatalog {
    async fn read(&self, keys: &[RowKey]) -> Result<Vec<Option<Row>>> {
        let database = self.slot.get().await?;
        if let [key] = keys {
            return Ok(vec![database.get(key, None)?]);
        }
        let snapshot = database.db.snapshot();
        keys.iter().map(|key| database.get(key, Some(&snapshot))).collect()
    }

    async fn scan(&self, range: &ScanRange, fold: &Fold, limit: usize) -> Result<Page> {
        let database = self.slot.get().await?;
        fold::page(&mut database.cursor(range.table)?, range, fold, limit)
    }

    async fn commit(&self, commit: Commit) -> Result<Outcome> {
        limits::admit(&commit)?;
        let (answer, outcome) = oneshot::channel();
        let gone = || Error::new(ErrorKind::Unavailable, "the catalog writer has ended");
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        queue.send(Job { commit, answer }).await.map_err(|_| gone())?;
        // Taken but not answered: the writer ended by a panic, maybe after it had written.
        outcome.await.unwrap_or(Ok(Outcome::Unknown))
    }

    async fn changes(&self, cursor: u64, limit: usize) -> Result<Vec<Change>> {
        log::changes(&*self.slot.get().await?, cursor, limit)
    }

    async fn checkpoint(&self, target: &Path) -> Result<()> {
        let database = self.slot.get().await?;
        let target = target.to_path_buf();
        let written = tokio::task::spawn_blocking(move || write_checkpoint(&database, &target));
        written.await.unwrap_or_else(|cause| {
            Err(Error::new(ErrorKind::Internal, "writing a catalog checkpoint").because(cause))
        })
    }
}

fn write_checkpoint(database: &Shared, target: &Path) -> Result<()> {
    if target.symlink_metadata().is_ok() {
        return Err(Error::new(ErrorKind::AlreadyExists, "the target of a checkpoint exists"));
    }
    let checkpoint = rocksdb::checkpoint::Checkpoint::new(&database.db)
        .map_err(fault("preparing a catalog checkpoint"))?;
    checkpoint.create_checkpoint(target).map_err(fault("writing a catalog checkpoint"))?;
    // RocksDB syncs the files and the directory; its name in the parent is ours to sync.
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
    std::fs::File::open(parent.unwrap_or(Path::new(".")))
        .and_then(|parent| parent.sync_all())
        .map_err(|cause| {
            Error::new(ErrorKind::Unavailable, "syncing a catalog checkpoint").because(cause)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use readvault_ambient::System;
    use readvault_store::{
        catalog::conformance::TABLES,
        seal::{CatalogKey, SecretKey},
    };

    /// What somebody with the database's own tools and the file keys could do to a row.
    #[tokio::test]
    async fn a_moved_or_edited_value_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let sealer = RowSealer::new(CatalogKey::from_bytes(&[1; 32]));
        let catalog =
            RocksCatalog::open(directory.path(), TABLES, Arc::new(sealer), Arc::new(System));
        let catalog = catalog.unwrap();
        let row = |table: usize, key: &str| RowKey::new(TABLES[table], key);
        for value in ["first", "second"] {
            let mut commit = Commit::new();
            commit.put(row(0, "a"), value).put(row(0, "b"), "other");
            assert!(matches!(catalog.commit(commit).await.unwrap(), Outcome::Applied { .. }));
        }
        let database = catalog.slot.now().unwrap();
        let db = &database.db;
        let raw = |table: usize| db.cf_handle(TABLES[table].0).unwrap();
        let sealed = db.get_cf(raw(0), "a").unwrap().unwrap();
        let mut newer = sealed.clone();
        newer[1] += 1;
        let forged = [
            (0, "b", sealed.clone()),
            (0, "ab", sealed.clone()),
            (1, "a", sealed.clone()),
            (0, "a", newer),
            (0, "a", b"first".to_vec()),
            (0, "a", Vec::new()),
        ];
        for (table, key, value) in forged {
            let before = db.get_cf(raw(table), key).unwrap();
            db.put_cf(raw(table), key, value).unwrap();
            let read = catalog.read(&[row(table, key)]).await;
            assert_eq!(read.unwrap_err().kind(), ErrorKind::Corrupt, "{key}");
            let all = ScanRange::prefix(TABLES[table], "");
            let scan = catalog.scan(&all, &Fold::default(), 10).await;
            assert_eq!(scan.unwrap_err().kind(), ErrorKind::Corrupt, "{key}");
            let mut commit = Commit::new();
            commit.unchanged(row(table, key), 2).put(row(0, "c"), "");
            let checked = catalog.commit(commit).await;
            assert_eq!(checked.unwrap_err().kind(), ErrorKind::Corrupt, "{key}");
            match before {
                Some(before) => db.put_cf(raw(table), key, before).unwrap(),
                None => db.delete_cf(raw(table), key).unwrap(),
            }
        }
        assert_eq!(catalog.read(&[row(0, "a")]).await.unwrap()[0].as_ref().unwrap().version, 2);
    }
}
