//! The walk behind [`Catalog::scan`](super::Catalog::scan), over any ordered cursor.
//!
//! One walk serves every backend that can seek, so that what a page holds is decided once. The exact rules,
//! which the trait leaves to this place:
//! - the last `version_suffix` bytes of a key are its version, where the delimiter is not looked for;
//! - after a row that stands for its versions, the walk goes on behind the key with all version bytes 0xFF;
//!   a table that is read so has no key that extends another key's name;
//! - a page ends early, with `next` set, once its rows pass [`PAGE_BYTES`].

use std::ops::Bound;

use super::{Fold, Item, PAGE_ITEMS_MAX, Page, Row, ScanRange, after_prefix};
use crate::{Error, ErrorKind, Result};

/// Bytes of keys and values after which a page ends: memory of one scan is bounded by this and by
/// one
/// commit's largest row.
pub const PAGE_BYTES: usize = 4 << 20;

/// Steps tried before a seek: a thing rarely has more versions than this, and a step is far
/// cheaper.
const STEPS_BEFORE_SEEK: usize = 8;

/// An ordered walk over the rows of one table in one state.
pub trait Cursor {
    /// Goes to the first row at or after `key`.
    ///
    /// # Errors
    /// Those of reading.
    fn seek(&mut self, key: &[u8]) -> Result<()>;

    /// Goes to the next row.
    ///
    /// # Errors
    /// Those of reading.
    fn step(&mut self) -> Result<()>;

    /// The key of the current row; none behind the last.
    fn key(&self) -> Option<&[u8]>;

    /// The current row, opened. Called only while there is a key.
    ///
    /// # Errors
    /// `Corrupt` when the value does not open.
    fn row(&self) -> Result<Row>;
}

/// Reads one page of `range` through `cursor`.
///
/// # Errors
/// `InvalidInput` for a limit outside 1 to [`PAGE_ITEMS_MAX`] or an empty delimiter; else the
/// cursor's.
pub fn page(
    cursor: &mut impl Cursor,
    range: &ScanRange,
    fold: &Fold,
    limit: usize,
) -> Result<Page> {
    if !(1..=PAGE_ITEMS_MAX).contains(&limit) {
        return Err(Error::new(ErrorKind::InvalidInput, "a page has 1 to 1000 items"));
    }
    if fold.delimiter.as_ref().is_some_and(Vec::is_empty) {
        return Err(Error::new(ErrorKind::InvalidInput, "a delimiter is never empty"));
    }
    match &range.start {
        Bound::Unbounded => cursor.seek(&[])?,
        Bound::Included(key) => cursor.seek(key)?,
        Bound::Excluded(key) => cursor.seek(&[key, &[0][..]].concat())?,
    }
    let mut page = Page::default();
    let mut bytes = 0;
    while let Some(key) = cursor.key() {
        if is_behind(key, &range.end) {
            break;
        }
        if page.items.len() == limit || bytes >= PAGE_BYTES {
            page.next = Some(key.to_vec());
            break;
        }
        match group_of(key, fold) {
            Some(group) => {
                let group = group.to_vec();
                bytes += group.len();
                let behind = after_prefix(&group);
                page.items.push(Item::Group(group));
                let Some(behind) = behind else { break };
                cursor.seek(&behind)?;
            }
            None => {
                let row = cursor.row()?;
                bytes += row.key.len() + row.value.len();
                let last = last_version(&row.key, fold);
                page.items.push(Item::Row(row));
                skip_past(cursor, &last)?;
            }
        }
    }
    Ok(page)
}

fn is_behind(key: &[u8], end: &Bound<Vec<u8>>) -> bool {
    match end {
        Bound::Unbounded => false,
        Bound::Included(end) => key > &end[..],
        Bound::Excluded(end) => key >= &end[..],
    }
}

/// The group that `key` folds into: all of it up to the end of its first delimiter at or beyond
/// `after`.
fn group_of<'a>(key: &'a [u8], fold: &Fold) -> Option<&'a [u8]> {
    let delimiter = fold.delimiter.as_deref()?;
    let name = &key[..key.len().saturating_sub(fold.version_suffix)];
    let at = name.get(fold.after..)?.windows(delimiter.len()).position(|w| w == delimiter)?;
    Some(&key[..fold.after + at + delimiter.len()])
}

/// The last key that counts as a version of what `key` is a version of.
fn last_version(key: &[u8], fold: &Fold) -> Vec<u8> {
    let mut last = key.to_vec();
    if let Some(name) = key.len().checked_sub(fold.version_suffix) {
        last[name..].fill(0xFF);
    }
    last
}

fn skip_past(cursor: &mut impl Cursor, last: &[u8]) -> Result<()> {
    for _ in 0..STEPS_BEFORE_SEEK {
        cursor.step()?;
        if cursor.key().is_none_or(|key| key > last) {
            return Ok(());
        }
    }
    cursor.seek(&[last, &[0][..]].concat())
}
