//! Rows that this backend keeps for itself: the change log and the durable version.

use readvault_ambient::Entropy;
use readvault_store::{
    Error, Result,
    catalog::{Change, RowKey, Table, fold::Cursor},
};

use rocksdb::WriteOptions;

use crate::{
    database::{CHANGES, Database},
    fault::fault,
};

/// Entries of the change log that are kept.
pub(crate) const CHANGES_KEPT: u64 = 65_536;

/// The key of the change log's entry of commit `version`.
pub(crate) fn change_key(version: u64) -> [u8; 8] {
    version.to_be_bytes()
}

/// `u32 count ‖ count × (LP(table) ‖ LP(key))`.
pub(crate) fn encode_rows<'a>(rows: impl ExactSizeIterator<Item = &'a RowKey>) -> Vec<u8> {
    let mut out = Vec::new();
    put_length(&mut out, rows.len());
    for row in rows {
        for bytes in [row.table.0.as_bytes(), &row.key] {
            put_length(&mut out, bytes.len());
            out.extend_from_slice(bytes);
        }
    }
    out
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).expect("a commit is smaller than 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
}

/// Rows of a table that this catalog was not opened with are left out: nobody can ask for them.
fn decode_rows(mut bytes: &[u8], table: impl Fn(&[u8]) -> Option<Table>) -> Option<Vec<RowKey>> {
    let count = take_length(&mut bytes)?;
    // No capacity is taken from the count: it is only as true as the row.
    let mut rows = Vec::new();
    for _ in 0..count {
        let name = take(&mut bytes)?;
        let key = take(&mut bytes)?;
        rows.extend(table(name).map(|table| RowKey::new(table, key)));
    }
    bytes.is_empty().then_some(rows)
}

fn take_length(bytes: &mut &[u8]) -> Option<usize> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    usize::try_from(u32::from_le_bytes(*length)).ok()
}

fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_length(bytes)?;
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

/// The entries after `cursor`, oldest first, at most `limit`.
pub(crate) fn changes(database: &Database, cursor: u64, limit: usize) -> Result<Vec<Change>> {
    // Entries older than the kept ones lie under tombstones, which a walk from `cursor` would step
    // over.
    let oldest = last_version(database)?.saturating_sub(CHANGES_KEPT) + 1;
    let Some(first) = cursor.checked_add(1) else { return Ok(Vec::new()) };
    let mut walk = database.cursor(CHANGES)?;
    walk.seek(&change_key(first.max(oldest)))?;
    let mut changes = Vec::new();
    while changes.len() < limit && walk.key().is_some() {
        let row = walk.row()?;
        let rows = decode_rows(&row.value, |name| database.table_named(name));
        let rows = rows.ok_or_else(|| Error::corrupt("a change log entry"))?;
        changes.push(Change { sequence: row.version, version: row.version, rows });
        walk.step()?;
    }
    Ok(changes)
}

/// The version of the newest commit; 0 when there was none.
pub(crate) fn last_version(database: &Database) -> Result<u64> {
    let mut walk = database.cursor(CHANGES)?;
    walk.seek_to_last()?;
    if walk.key().is_none() {
        return Ok(0);
    }
    walk.row().map(|row| row.version)
}

/// Notes a commit of version `floor` that changed nothing, unless there is a later one. Durable when it
/// returns.
pub(crate) fn raise(database: &Database, floor: u64, entropy: &dyn Entropy) -> Result<()> {
    if last_version(database)? >= floor {
        return Ok(());
    }
    let (handle, sealer) = database.handle(CHANGES)?;
    let key = change_key(floor);
    let sealed = sealer.seal(&key, floor, &encode_rows([].iter()), entropy);
    let mut options = WriteOptions::default();
    options.set_sync(true);
    let written = database.db.put_cf_opt(handle, key, sealed, &options);
    written.map_err(fault("raising the version of a catalog"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_survive_and_damage_does_not() {
        let known = Table("alpha");
        let named = |name: &[u8]| (name == b"alpha").then_some(known);
        let rows =
            [RowKey::new(known, "a"), RowKey::new(Table("gone"), "b"), RowKey::new(known, "")];
        let bytes = encode_rows(rows.iter());
        assert_eq!(decode_rows(&bytes, named), Some(vec![rows[0].clone(), rows[2].clone()]));
        assert_eq!(decode_rows(&encode_rows([].iter()), named), Some(vec![]));
        for length in 0..bytes.len() {
            assert_eq!(decode_rows(&bytes[..length], named), None);
        }
        assert_eq!(decode_rows(&[0xFF; 64], named), None);
    }
}
