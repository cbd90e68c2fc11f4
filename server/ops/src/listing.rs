//! Pages over rows: keyset pagination with a filter, never a list in memory.

use readvault_store::catalog::{Fold, Row, ScanRange, Table};
use serde::de::DeserializeOwned;

use crate::{
    core::{Core, decode},
    fault::Result,
};

/// Rows that one page looks at before it answers short with a position to go on from.
const EXAMINED_MAX: usize = 4096;
/// Rows of one scan.
const SCAN_ROWS: usize = 256;

/// Which page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageOf {
    /// At most so many items.
    pub limit: usize,
    /// Where the last page ended, as it said.
    pub after: Option<Vec<u8>>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, in key order. Fewer than asked for, even none, may come before the last page.
    pub items: Vec<T>,
    /// Where this page ended; none on the last.
    pub next: Option<Vec<u8>>,
}

/// The rows of `table` below `prefix` whose value `keep` takes.
///
/// # Errors
/// Those of the catalog.
pub async fn page<T: DeserializeOwned>(
    core: &Core,
    (table, prefix): (Table, Vec<u8>),
    of: &PageOf,
    mut keep: impl FnMut(&T) -> bool,
) -> Result<Page<T>> {
    let mut walk = Walk::new(ScanRange::prefix(table, prefix.clone()), &prefix, of);
    let mut items = Vec::new();
    while let Some(rows) = walk.rows(core).await? {
        for row in rows {
            if items.len() == of.limit {
                return Ok(Page { items, next: walk.position });
            }
            walk.seen(&row);
            let value: T = decode(&row.value)?;
            if keep(&value) {
                items.push(value);
            }
        }
    }
    Ok(Page { items, next: walk.rest() })
}

/// A walk over a range that counts what it looked at and knows where it stands.
#[derive(Debug)]
pub(crate) struct Walk {
    range: Option<ScanRange>,
    prefix_len: usize,
    examined: usize,
    /// Key without its prefix of the last row that was seen.
    pub(crate) position: Option<Vec<u8>>,
}

impl Walk {
    /// A walk over `range`, whose keys all begin with `prefix`, from where `of` says.
    pub(crate) fn new(range: ScanRange, prefix: &[u8], of: &PageOf) -> Self {
        let range = match &of.after {
            None => range,
            Some(after) => range.after([prefix, after.as_slice()].concat()),
        };
        Self {
            range: Some(range),
            prefix_len: prefix.len(),
            examined: 0,
            position: of.after.clone(),
        }
    }

    /// The next rows; none at the end or once enough were looked at.
    pub(crate) async fn rows(&mut self, core: &Core) -> Result<Option<Vec<Row>>> {
        let Some(range) = &self.range else { return Ok(None) };
        if self.examined >= EXAMINED_MAX {
            return Ok(None);
        }
        let page = core.catalog().scan(range, &Fold::default(), SCAN_ROWS).await?;
        self.range = page.next.clone().map(|next| range.clone().from(next));
        Ok(Some(page.rows().collect()))
    }

    /// Takes note that `row` was looked at.
    pub(crate) fn seen(&mut self, row: &Row) {
        self.examined += 1;
        self.position = Some(row.key.get(self.prefix_len..).unwrap_or_default().to_vec());
    }

    /// Where a next page begins, when the walk ended before its range did.
    pub(crate) fn rest(self) -> Option<Vec<u8>> {
        self.range.and(self.position)
    }
}

/// How many rows of `table` there are, of at most `limit`.
///
/// # Errors
/// Those of the catalog.
pub async fn count(core: &Core, table: Table, limit: usize) -> Result<usize> {
    let mut range = ScanRange::prefix(table, []);
    let mut count = 0;
    loop {
        let page = core.catalog().scan(&range, &Fold::default(), SCAN_ROWS).await?;
        count += page.items.len();
        match page.next {
            Some(key) if count < limit => range = range.from(key),
            _ => return Ok(count.min(limit)),
        }
    }
}

/// Whether any row of `table` begins with `prefix`.
///
/// # Errors
/// Those of the catalog.
pub async fn any(core: &Core, table: Table, prefix: Vec<u8>) -> Result<bool> {
    let range = ScanRange::prefix(table, prefix);
    let page = core.catalog().scan(&range, &Fold::default(), 1).await?;
    Ok(!page.items.is_empty())
}
