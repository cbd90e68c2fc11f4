//! Rows that this backend keeps for itself: the change log and the durable version.

use readvault_ambient::Entropy;
use readvault_store::{
    Error, Result,
    catalog::{Change, change_rows, fold::Cursor},
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
        let rows = change_rows::decode(&row.value, |name| database.table_named(name));
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
    let sealed = sealer.seal(&key, floor, &change_rows::encode([].iter()), entropy);
    let mut options = WriteOptions::default();
    options.set_sync(true);
    let written = database.db.put_cf_opt(handle, key, sealed, &options);
    written.map_err(fault("raising the version of a catalog"))
}
