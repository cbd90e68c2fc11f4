//! The memory twin: the same promises over maps, and the faults that callers must survive.
//!
//! Holds everything in this process's memory and writes nothing to disk, so its values are not
//! sealed.
//! Every operation and handler is tested on it; `conformance` holds it equal to the durable
//! backends.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    Catalog, Change, Check, Commit, Durability, Fold, Outcome, Page, Row, RowKey, ScanRange, Table,
    Write, fold, limits,
};
use crate::{Error, ErrorKind, Result, error::io};

/// Entries of the change log that are kept.
const CHANGES_KEPT: usize = 65_536;

/// Items of a page when pages are made short.
const SHORT_PAGE_ITEMS: usize = 3;

/// What happens to a commit instead of what should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It is refused, naming the first row that it checks or writes.
    Conflict,
    /// It applies and answers `Unknown`.
    UnknownApplied,
    /// It does not apply and answers `Unknown`.
    UnknownNotApplied,
    /// It answers `Unknown` and applies, if its checks still hold, at
    /// [`MemoryCatalog::settle_late`].
    UnknownLate,
}

/// A call that a watched catalog is about to serve.
#[derive(Clone, Copy, Debug)]
pub enum Call<'a> {
    /// Rows are read.
    Read(&'a [RowKey]),
    /// A commit is applied.
    Commit(&'a Commit),
}

type Watch = Box<dyn Fn(Call<'_>) + Send + Sync>;

/// What the rows of one commit were before it.
type Undo = Vec<(RowKey, Option<(Bytes, u64)>)>;

type Rows = BTreeMap<Vec<u8>, (Bytes, u64)>;

#[derive(Clone, Default, Debug)]
struct State {
    tables: BTreeMap<Table, Rows>,
    changes: VecDeque<Change>,
    version: u64,
    /// What the commits since the last synced one replaced, oldest first.
    unsynced: Vec<Undo>,
}

#[derive(Default, Debug)]
struct Faults {
    next: VecDeque<Fault>,
    late: Vec<Commit>,
    short_pages: bool,
}

/// A catalog in memory. Any table may be used; nothing outlives the value.
#[derive(Default)]
pub struct MemoryCatalog {
    state: Mutex<State>,
    faults: Mutex<Faults>,
    checkpoints: Mutex<BTreeMap<PathBuf, State>>,
    watch: OnceLock<Watch>,
}

impl MemoryCatalog {
    /// An empty catalog without faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the next commit that has no fault yet meet `fault`; each call serves one commit.
    pub fn inject(&self, fault: Fault) {
        self.faults.lock().next.push_back(fault);
    }

    /// Tells `watch` of every read and commit before it is served.
    ///
    /// # Panics
    /// When it is watched already.
    pub fn watch(&self, watch: impl Fn(Call<'_>) + Send + Sync + 'static) {
        assert!(self.watch.set(Box::new(watch)).is_ok(), "a catalog has one that watches it");
    }

    fn tell(&self, call: Call<'_>) {
        if let Some(watch) = self.watch.get() {
            watch(call);
        }
    }

    /// Cuts every page to three items, so that callers meet `next`.
    pub fn short_pages(&self, short: bool) {
        self.faults.lock().short_pages = short;
    }

    /// Applies the commits that answered `Unknown` by [`Fault::UnknownLate`], oldest first;
    /// returns how
    /// many applied.
    pub fn settle_late(&self) -> usize {
        let late = std::mem::take(&mut self.faults.lock().late);
        let mut state = self.state.lock();
        late.iter().filter(|commit| matches!(state.apply(commit), Outcome::Applied { .. })).count()
    }

    /// Takes back the faults that no commit has met; returns how many there were.
    pub fn calm(&self) -> usize {
        std::mem::take(&mut self.faults.lock().next).len()
    }

    /// Loses power: of the commits since the last synced one the first stay, `kept` 256ths of them.
    pub fn lose_power(&self, kept: u8) {
        let mut state = self.state.lock();
        let stay = state.unsynced.len() * usize::from(kept) / 256;
        let lost = state.unsynced.split_off(stay);
        lost.into_iter().rev().for_each(|replaced| state.undo(replaced));
        state.unsynced.clear();
    }

    /// A catalog as it was when [`Catalog::checkpoint`] was given `target`; none if it never was.
    #[must_use]
    pub fn open_checkpoint(&self, target: &Path) -> Option<Self> {
        let state = self.checkpoints.lock().get(target)?.clone();
        Some(Self { state: Mutex::new(state), ..Self::default() })
    }
}

impl std::fmt::Debug for MemoryCatalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryCatalog")
            .field("version", &self.state.lock().version)
            .finish_non_exhaustive()
    }
}

impl State {
    fn row(&self, row: &RowKey) -> Option<&(Bytes, u64)> {
        self.tables.get(&row.table)?.get(&row.key)
    }

    fn holds(&self, check: &Check) -> bool {
        match check {
            Check::Absent(row) => self.row(row).is_none(),
            Check::Version(row, version) => self.row(row).is_some_and(|(_, now)| now == version),
        }
    }

    fn apply(&mut self, commit: &Commit) -> Outcome {
        if let Some(check) = commit.checks.iter().find(|check| !self.holds(check)) {
            return Outcome::Conflict(check.row().clone());
        }
        self.version += 1;
        let version = self.version;
        let mut rows = Vec::with_capacity(commit.writes.len());
        let mut replaced = Vec::with_capacity(commit.writes.len());
        for write in &commit.writes {
            let (row, before) = match write {
                Write::Put(row, value) => {
                    let table = self.tables.entry(row.table).or_default();
                    (row, table.insert(row.key.clone(), (value.clone(), version)))
                }
                Write::Delete(row) => {
                    (row, self.tables.entry(row.table).or_default().remove(&row.key))
                }
            };
            rows.push(row.clone());
            replaced.push((row.clone(), before));
        }
        match commit.durability {
            Durability::Synced => self.unsynced.clear(),
            Durability::Ordered => self.unsynced.push(replaced),
        }
        self.changes.push_back(Change { sequence: version, version, rows });
        if self.changes.len() > CHANGES_KEPT {
            self.changes.pop_front();
        }
        Outcome::Applied { version }
    }

    /// Undoes the newest commit.
    fn undo(&mut self, replaced: Vec<(RowKey, Option<(Bytes, u64)>)>) {
        for (row, before) in replaced.into_iter().rev() {
            let table = self.tables.entry(row.table).or_default();
            match before {
                Some(before) => table.insert(row.key, before),
                None => table.remove(&row.key),
            };
        }
        self.changes.pop_back();
        self.version -= 1;
    }
}

#[async_trait]
impl Catalog for MemoryCatalog {
    async fn read(&self, keys: &[RowKey]) -> Result<Vec<Option<Row>>> {
        self.tell(Call::Read(keys));
        let state = self.state.lock();
        let row = |key: &RowKey| {
            let (value, version) = state.row(key)?.clone();
            Some(Row { key: key.key.clone(), value, version })
        };
        Ok(keys.iter().map(row).collect())
    }

    async fn scan(&self, range: &ScanRange, fold: &Fold, limit: usize) -> Result<Page> {
        let short = self.faults.lock().short_pages;
        let limit = if short { limit.min(SHORT_PAGE_ITEMS) } else { limit };
        let state = self.state.lock();
        let empty = Rows::new();
        let rows = state.tables.get(&range.table).unwrap_or(&empty);
        fold::page(&mut MapCursor { rows, at: None }, range, fold, limit)
    }

    async fn commit(&self, commit: Commit) -> Result<Outcome> {
        limits::admit(&commit)?;
        self.tell(Call::Commit(&commit));
        let fault = self.faults.lock().next.pop_front();
        match fault {
            None => Ok(self.state.lock().apply(&commit)),
            Some(Fault::Conflict) => {
                let checked = commit.checks.first().map(Check::row);
                let written = commit.writes.first().map(|write| match write {
                    Write::Put(row, _) | Write::Delete(row) => row,
                });
                Ok(checked
                    .or(written)
                    .map_or(Outcome::Unknown, |row| Outcome::Conflict(row.clone())))
            }
            // A commit whose checks fail is refused for certain, whatever happens to its answer.
            Some(Fault::UnknownApplied) => Ok(match self.state.lock().apply(&commit) {
                Outcome::Applied { .. } => Outcome::Unknown,
                refused => refused,
            }),
            Some(Fault::UnknownNotApplied) => Ok(Outcome::Unknown),
            Some(Fault::UnknownLate) => {
                self.faults.lock().late.push(commit);
                Ok(Outcome::Unknown)
            }
        }
    }

    async fn changes(&self, cursor: u64, limit: usize) -> Result<Vec<Change>> {
        let state = self.state.lock();
        let start = state.changes.partition_point(|change| change.sequence <= cursor);
        Ok(state.changes.range(start..).take(limit).cloned().collect())
    }

    /// Creates `target` as an empty directory and keeps the copy in memory, for
    /// [`MemoryCatalog::open_checkpoint`]: this catalog has no key and lets no value reach the
    /// disk.
    async fn checkpoint(&self, target: &Path) -> Result<()> {
        std::fs::create_dir(target).map_err(|cause| match cause.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Error::new(ErrorKind::AlreadyExists, "the target of a checkpoint exists")
            }
            _ => io("the target of a checkpoint")(cause),
        })?;
        let state = self.state.lock().clone();
        self.checkpoints.lock().insert(target.to_path_buf(), state);
        Ok(())
    }
}

struct MapCursor<'a> {
    rows: &'a Rows,
    at: Option<(&'a Vec<u8>, &'a (Bytes, u64))>,
}

impl fold::Cursor for MapCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<()> {
        self.at = self.rows.range::<[u8], _>((Bound::Included(key), Bound::Unbounded)).next();
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        if let Some((key, _)) = self.at {
            let behind = (Bound::Excluded(&key[..]), Bound::Unbounded);
            self.at = self.rows.range::<[u8], _>(behind).next();
        }
        Ok(())
    }

    fn key(&self) -> Option<&[u8]> {
        self.at.map(|(key, _)| &key[..])
    }

    fn row(&self) -> Result<Row> {
        let (key, (value, version)) = self.at.expect("called only while there is a key");
        Ok(Row { key: key.clone(), value: value.clone(), version: *version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: Table = Table("alpha");

    fn put(key: &str) -> Commit {
        let mut commit = Commit::new();
        commit.put(RowKey::new(ROW, key), "value");
        commit
    }

    async fn exists(catalog: &MemoryCatalog, key: &str) -> bool {
        catalog.read(&[RowKey::new(ROW, key)]).await.unwrap()[0].is_some()
    }

    #[tokio::test]
    async fn faults_serve_one_commit_each() {
        let catalog = MemoryCatalog::new();
        catalog.inject(Fault::Conflict);
        catalog.inject(Fault::UnknownApplied);
        catalog.inject(Fault::UnknownNotApplied);
        catalog.inject(Fault::UnknownLate);
        let conflict = Outcome::Conflict(RowKey::new(ROW, "a"));
        assert_eq!(catalog.commit(put("a")).await.unwrap(), conflict);
        for key in ["b", "c", "d"] {
            assert_eq!(catalog.commit(put(key)).await.unwrap(), Outcome::Unknown);
        }
        assert!(matches!(catalog.commit(put("e")).await.unwrap(), Outcome::Applied { .. }));
        assert!(!exists(&catalog, "a").await);
        assert!(exists(&catalog, "b").await);
        assert!(!exists(&catalog, "c").await);
        assert!(!exists(&catalog, "d").await);
        assert_eq!(catalog.settle_late(), 1);
        assert!(exists(&catalog, "d").await);
    }

    #[tokio::test]
    async fn a_loss_of_power_takes_what_was_not_synced() {
        let catalog = MemoryCatalog::new();
        let ordered = |key| Commit { durability: Durability::Ordered, ..put(key) };
        let _ = catalog.commit(ordered("a")).await.unwrap();
        let _ = catalog.commit(put("b")).await.unwrap();
        let mut rewritten = ordered("b");
        rewritten.delete(RowKey::new(ROW, "a"));
        for commit in [rewritten, ordered("c")] {
            let _ = catalog.commit(commit).await.unwrap();
        }
        catalog.lose_power(128);
        assert!(!exists(&catalog, "c").await && !exists(&catalog, "a").await);
        let _ = catalog.commit(ordered("c")).await.unwrap();
        catalog.lose_power(0);
        assert!(!exists(&catalog, "c").await && exists(&catalog, "b").await);
        let next = catalog.commit(put("d")).await.unwrap();
        assert_eq!(next, Outcome::Applied { version: 4 });
    }

    #[tokio::test]
    async fn short_pages_have_three_items() {
        let catalog = MemoryCatalog::new();
        for key in ["a", "b", "c", "d"] {
            let _ = catalog.commit(put(key)).await.unwrap();
        }
        catalog.short_pages(true);
        let all = ScanRange::prefix(ROW, "");
        let page = catalog.scan(&all, &Fold::default(), 1000).await.unwrap();
        assert_eq!(page.items.len(), 3);
        assert_eq!(page.next.as_deref(), Some(&b"d"[..]));
    }

    #[tokio::test]
    async fn keeps_every_promise_of_the_trait() {
        let made = Mutex::new(Vec::<std::sync::Arc<MemoryCatalog>>::new());
        super::super::conformance::run(
            || async {
                let catalog = std::sync::Arc::new(MemoryCatalog::new());
                made.lock().push(catalog.clone());
                catalog as std::sync::Arc<dyn Catalog>
            },
            |target| {
                let copy = made.lock().iter().find_map(|one| one.open_checkpoint(target));
                let copy = copy.expect("a checkpoint was made there");
                async move { std::sync::Arc::new(copy) as std::sync::Arc<dyn Catalog> }
            },
        )
        .await;
    }
}
