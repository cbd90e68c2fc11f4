//! The catalog: an ordered, transactional key-value interface, the only truth of reachability.
//!
//! Five methods and no more: no transaction, snapshot or closure crosses the trait, so that a backend
//! in this process and a database behind a network keep the same promises. The vault and the server's
//! operations call it; backends live beside it (`memory`) or in crates of their own.

pub mod change_rows;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod fold;
pub mod limits;
pub mod memory;
pub mod row;

use std::{fmt, ops::Bound, path::Path};

use async_trait::async_trait;
use bytes::Bytes;

use crate::Result;

/// Most rows that one commit may write or check.
pub const COMMIT_ROWS_MAX: usize = 4096;

/// Most bytes, keys and values together, that one commit may carry.
pub const COMMIT_BYTES_MAX: usize = 1 << 20;

/// Most items of one page of [`Catalog::scan`].
pub const PAGE_ITEMS_MAX: usize = 1000;

/// One table. Its name is part of what a value is sealed to, so a row can't be moved between tables.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Table(pub &'static str);

/// The address of one row.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RowKey {
    /// The table that holds the row.
    pub table: Table,
    /// The row's key: ordered as bytes.
    pub key: Vec<u8>,
}

impl RowKey {
    /// The row `key` of `table`.
    pub fn new(table: Table, key: impl Into<Vec<u8>>) -> Self {
        Self { table, key: key.into() }
    }
}

/// One row as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// The row's key.
    pub key: Vec<u8>,
    /// The opened value.
    pub value: Bytes,
    /// Version of the commit that wrote it; larger is later within one catalog.
    pub version: u64,
}

/// A contiguous range of one table, walked upwards.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScanRange {
    /// The table.
    pub table: Table,
    /// Where the walk begins.
    pub start: Bound<Vec<u8>>,
    /// Where it ends.
    pub end: Bound<Vec<u8>>,
}

impl ScanRange {
    /// Every row of `table` whose key begins with `prefix`.
    pub fn prefix(table: Table, prefix: impl Into<Vec<u8>>) -> Self {
        let prefix = prefix.into();
        let end = after_prefix(&prefix).map_or(Bound::Unbounded, Bound::Excluded);
        Self { table, start: Bound::Included(prefix), end }
    }

    /// The same range, begun after `key`.
    #[must_use]
    pub fn after(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.start = Bound::Excluded(key.into());
        self
    }

    /// The same range, begun at `key`.
    #[must_use]
    pub fn from(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.start = Bound::Included(key.into());
        self
    }
}

/// The first key after every key that begins with `prefix`; none when `prefix` is all 0xFF.
#[must_use]
pub fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|byte| *byte != 0xFF)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(end)
}

/// How a scan folds neighbouring rows into one item, inside the backend.
///
/// With a `delimiter`, all rows whose key holds it at or beyond byte `after` fold into one
/// [`Item::Group`]: the key up to the end of its first delimiter there. Of rows that share all but their
/// last `version_suffix` bytes, only the first (the newest, as versions are stored inverted) is an item.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fold {
    /// Bytes of the key before which the delimiter is not looked for.
    pub after: usize,
    /// What ends a group; never empty.
    pub delimiter: Option<Vec<u8>>,
    /// Bytes at the end of a key that tell versions of one thing apart; 0 = none.
    pub version_suffix: usize,
}

/// One item of a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// A row.
    Row(Row),
    /// A group of rows, named by the part of the key that they share.
    Group(Vec<u8>),
}

/// A page of a scan.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// The items, in key order.
    pub items: Vec<Item>,
    /// Where the next page begins ([`ScanRange::from`]); none on the last page. Never between two
    /// versions of one thing nor inside a group that was already given.
    pub next: Option<Vec<u8>>,
}

impl Page {
    /// The rows of this page; groups are left out.
    pub fn rows(self) -> impl Iterator<Item = Row> {
        self.items.into_iter().filter_map(|item| match item {
            Item::Row(row) => Some(row),
            Item::Group(_) => None,
        })
    }
}

/// What must hold for a commit to apply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Check {
    /// The row does not exist.
    Absent(RowKey),
    /// The row exists and was written by the commit of this version.
    Version(RowKey, u64),
}

impl Check {
    /// The row that is checked.
    #[must_use]
    pub fn row(&self) -> &RowKey {
        match self {
            Self::Absent(row) | Self::Version(row, _) => row,
        }
    }
}

/// One change of a commit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    /// Writes the row, whether or not it exists.
    Put(RowKey, Bytes),
    /// Removes the row, whether or not it exists.
    Delete(RowKey),
}

/// When a commit must have reached the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// Before it is answered.
    #[default]
    Synced,
    /// With the next synced commit at the latest: for rows that no one relies on before that one.
    Ordered,
}

/// A set of checks and changes that applies as a whole or not at all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Commit {
    /// What must hold.
    pub checks: Vec<Check>,
    /// What is changed.
    pub writes: Vec<Write>,
    /// When it must be durable.
    pub durability: Durability,
}

impl Commit {
    /// A commit without checks and changes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Demands that `row` does not exist.
    pub fn absent(&mut self, row: RowKey) -> &mut Self {
        self.checks.push(Check::Absent(row));
        self
    }

    /// Demands that `row` still is of `version`.
    pub fn unchanged(&mut self, row: RowKey, version: u64) -> &mut Self {
        self.checks.push(Check::Version(row, version));
        self
    }

    /// Writes `row`.
    pub fn put(&mut self, row: RowKey, value: impl Into<Bytes>) -> &mut Self {
        self.writes.push(Write::Put(row, value.into()));
        self
    }

    /// Removes `row`.
    pub fn delete(&mut self, row: RowKey) -> &mut Self {
        self.writes.push(Write::Delete(row));
        self
    }
}

/// What became of a commit.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Outcome {
    /// It applied, as this version.
    Applied {
        /// Version that its rows now bear.
        version: u64,
    },
    /// It did not apply: this row is not as it was checked to be.
    Conflict(RowKey),
    /// It may or may not have applied; read before you decide again.
    Unknown,
}

/// One entry of the change log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Position in the writer's own dense sequence.
    pub sequence: u64,
    /// Version of the commit.
    pub version: u64,
    /// The rows that it wrote or removed.
    pub rows: Vec<RowKey>,
}

/// An ordered, transactional key-value store.
///
/// Every call sees one consistent state that holds all commits acknowledged before it began. Keys are
/// ordered as bytes. Dropping the future of `commit` leaves its outcome unknown; dropping any other has
/// no effect.
#[async_trait]
pub trait Catalog: Send + Sync + fmt::Debug {
    /// Reads rows, all from one state, in the order asked for.
    ///
    /// # Errors
    /// `Corrupt` when a value does not open under its key and version; `Unavailable` otherwise.
    async fn read(&self, keys: &[RowKey]) -> Result<Vec<Option<Row>>>;

    /// Reads a page of at most `limit` (1 to [`PAGE_ITEMS_MAX`]) items, folded inside the backend.
    ///
    /// # Errors
    /// As [`Catalog::read`].
    async fn scan(&self, range: &ScanRange, fold: &Fold, limit: usize) -> Result<Page>;

    /// Applies a commit as a whole or not at all. `Ok(Applied)` of a synced commit means durable.
    ///
    /// # Errors
    /// `LimitExceeded` above [`COMMIT_ROWS_MAX`] or [`COMMIT_BYTES_MAX`]; `NoSpace`; `Unavailable`.
    async fn commit(&self, commit: Commit) -> Result<Outcome>;

    /// The changes of this process's writer after `cursor`, oldest first, at most `limit`. Entries older
    /// than the newest 65,536 may be gone; then the first sequence given shows the gap.
    ///
    /// # Errors
    /// As [`Catalog::read`].
    async fn changes(&self, cursor: u64, limit: usize) -> Result<Vec<Change>>;

    /// Writes a consistent copy of the whole catalog, still sealed, into the new directory `target`.
    ///
    /// # Errors
    /// `AlreadyExists` when `target` exists; `NoSpace`; `Unavailable`.
    async fn checkpoint(&self, target: &Path) -> Result<()>;
}
