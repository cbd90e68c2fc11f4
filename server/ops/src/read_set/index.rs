//! The index of read sets by field, and the list that walks it.
//!
//! A list walks the rows of its narrowest field in the order of creation and looks at the other
//! fields in the read sets themselves, so that no list is built in memory.

use std::ops::Bound;

use readvault_store::catalog::{Commit, RowKey, ScanRange};

use super::{ReadSet, row};
use crate::{
    authorize::Permit,
    core::{Core, decode, key_of, row_of},
    fault::Result,
    listing::{Page, PageOf, Walk},
    sequence_store::{self, read::within},
    tables,
};

/// Which read sets a list gives. All that is there must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadSetFilter {
    /// Of this name.
    pub name: Option<String>,
    /// In this state.
    pub status: Option<String>,
    /// With this reference; the empty text means none.
    pub reference_arn: Option<String>,
    /// Of this sample.
    pub sample_id: Option<String>,
    /// Of this subject.
    pub subject_id: Option<String>,
    /// Made from this.
    pub generated_from: Option<String>,
    /// `IMPORT` or `UPLOAD`.
    pub creation_type: Option<String>,
    /// Made after this time, in milliseconds since 1970.
    pub created_after: Option<u64>,
    /// Made before this time.
    pub created_before: Option<u64>,
}

/// A field that the index knows. The order is that in which a list prefers them.
const FIELDS: [&str; 8] = [
    "sample_id",
    "subject_id",
    "name",
    "generated_from",
    "reference_arn",
    "status",
    "creation_type",
    "",
];

fn value<'a>(read_set: &'a ReadSet, field: &str) -> &'a str {
    match field {
        "sample_id" => &read_set.sample_id,
        "subject_id" => &read_set.subject_id,
        "name" => read_set.name.as_deref().unwrap_or_default(),
        "generated_from" => read_set.generated_from.as_deref().unwrap_or_default(),
        "reference_arn" => read_set.reference_arn.as_deref().unwrap_or_default(),
        "status" => read_set.status.as_str(),
        "creation_type" => &read_set.creation_type,
        _ => "",
    }
}

impl ReadSetFilter {
    fn value(&self, field: &str) -> Option<&str> {
        match field {
            "sample_id" => self.sample_id.as_deref(),
            "subject_id" => self.subject_id.as_deref(),
            "name" => self.name.as_deref(),
            "generated_from" => self.generated_from.as_deref(),
            "reference_arn" => self.reference_arn.as_deref(),
            "status" => self.status.as_deref(),
            "creation_type" => self.creation_type.as_deref(),
            _ => None,
        }
    }

    fn takes(&self, read_set: &ReadSet) -> bool {
        within(read_set.created_ms, self.created_after, self.created_before)
            && FIELDS.iter().all(|field| {
                self.value(field).is_none_or(|wanted| wanted == value(read_set, field))
            })
    }
}

fn index_row(read_set: &ReadSet, field: &str) -> RowKey {
    let time = time_text(read_set.created_ms);
    let parts = [&read_set.sequence_store, field, value(read_set, field), &time, &read_set.id];
    row_of(tables::READ_SET_INDEX, &parts)
}

fn time_text(unix_ms: u64) -> String {
    format!("{unix_ms:016x}")
}

/// Adds the row of `read_set` and its index to `commit`: 9 rows. The caller adds its files and holds the
/// row of its store.
pub fn add(commit: &mut Commit, read_set: &ReadSet) {
    commit.put(row(&read_set.sequence_store, &read_set.id), crate::core::encode(read_set));
    for field in FIELDS {
        commit.put(index_row(read_set, field), bytes::Bytes::new());
    }
}

/// Adds to `commit` that `old` becomes `new`, of which only the state and facts differ.
pub(crate) fn replace(commit: &mut Commit, old: &ReadSet, new: &ReadSet) {
    commit.delete(index_row(old, "status"));
    commit.put(index_row(new, "status"), bytes::Bytes::new());
    commit.put(row(&new.sequence_store, &new.id), crate::core::encode(new));
}

/// Adds to `commit` that `read_set` is gone.
pub(crate) fn remove(commit: &mut Commit, read_set: &ReadSet) {
    commit.delete(row(&read_set.sequence_store, &read_set.id));
    for field in FIELDS {
        commit.delete(index_row(read_set, field));
    }
}

/// Whether a read set of `store` has the reference `arn`.
pub(crate) async fn uses_reference(core: &Core, store: &str, arn: &str) -> Result<bool> {
    crate::listing::any(core, tables::READ_SET_INDEX, key_of(&[store, "reference_arn", arn])).await
}

/// The rows of the index that `filter` may take, and what all their keys begin with: those of one value
/// of its narrowest field, between its times. None when there is no time between.
fn rows_of(store: &str, filter: &ReadSetFilter) -> Option<(ScanRange, Vec<u8>)> {
    let field = FIELDS.into_iter().find(|field| filter.value(field).is_some()).unwrap_or("");
    let prefix = key_of(&[store, field, filter.value(field).unwrap_or_default()]);
    let at = |time| [prefix.as_slice(), time_text(time).as_bytes()].concat();
    let mut range = ScanRange::prefix(tables::READ_SET_INDEX, prefix.clone());
    if let Some(after) = filter.created_after {
        range = range.from(at(after));
    }
    if let Some(before) = filter.created_before {
        if filter.created_after.is_some_and(|after| after >= before) {
            return None;
        }
        range.end = Bound::Excluded(at(before));
    }
    Some((range, prefix))
}

/// A page of the read sets of `store` that `filter` takes, oldest first.
///
/// # Errors
/// `NotFound` for the store; those of the catalog.
pub async fn list(
    core: &Core,
    _permit: &Permit,
    store: &str,
    (filter, of): (&ReadSetFilter, &PageOf),
) -> Result<Page<ReadSet>> {
    sequence_store::load(core, store).await?;
    let Some((range, prefix)) = rows_of(store, filter) else {
        return Ok(Page { items: Vec::new(), next: None });
    };
    let mut walk = Walk::new(range, &prefix, of);
    let mut items = Vec::new();
    while let Some(rows) = walk.rows(core).await? {
        let keys: Vec<RowKey> = rows.iter().map(|found| row(store, id_of(&found.key))).collect();
        let read_sets = core.catalog().read(&keys).await?;
        for (found, read_set) in rows.iter().zip(read_sets) {
            if items.len() == of.limit {
                return Ok(Page { items, next: walk.position });
            }
            walk.seen(found);
            let Some(read_set) = read_set else { continue };
            let read_set: ReadSet = decode(&read_set.value)?;
            if filter.takes(&read_set) {
                items.push(read_set);
            }
        }
    }
    Ok(Page { items, next: walk.rest() })
}

/// The id at the end of an index key: ten digits and their end mark.
fn id_of(key: &[u8]) -> &str {
    let end = key.len().saturating_sub(2);
    let start = key[..end].iter().rposition(|byte| *byte == 1).map_or(0, |at| at + 1);
    std::str::from_utf8(&key[start..end]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(after: Option<u64>, before: Option<u64>) -> ReadSetFilter {
        ReadSetFilter { created_after: after, created_before: before, ..ReadSetFilter::default() }
    }

    /// Whether the index row of a read set of sample `s` made at `time` is walked.
    fn walked(filter: &ReadSetFilter, time: u64) -> bool {
        let Some((range, prefix)) = rows_of("1000000001", filter) else { return false };
        let key = [prefix, key_of(&[&time_text(time), "1000000001"])].concat();
        let after_start = match &range.start {
            Bound::Included(start) => &key >= start,
            Bound::Excluded(start) => &key > start,
            Bound::Unbounded => true,
        };
        after_start && matches!(&range.end, Bound::Excluded(end) if &key < end)
    }

    #[test]
    fn a_walk_begins_and_ends_at_the_times_of_its_filter() {
        let both = between(Some(1000), Some(2000));
        let found: Vec<_> = [0, 999, 1500, 1999, 2000, u64::MAX].map(|at| walked(&both, at)).into();
        assert_eq!(found, [false, false, true, true, false, false]);
        assert!(walked(&between(None, None), u64::MAX));
        assert!(!walked(&between(None, Some(5)), 5));
        assert!(!walked(&between(Some(5), Some(5)), 5));
        assert!(!walked(&between(Some(6), Some(5)), 5));
    }
}
