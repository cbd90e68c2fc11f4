//! The open database: tables by name, rows sealed on the way in and opened on the way out.

use std::{collections::HashMap, fmt, sync::Arc};

use readvault_store::{
    Error, ErrorKind, Result,
    catalog::{
        Row, RowKey, Table, fold,
        row::{RowSealer, TableSealer},
    },
};
use rocksdb::{ColumnFamily, DB, DBRawIterator, ReadOptions, Snapshot};

use crate::fault::fault;

/// The change log: big-endian version → rows of that commit.
pub(crate) const CHANGES: Table = Table("rv.changes");
/// One row, written first in every group: how far the log was durable before.
pub(crate) const SYNCED: Table = Table("rv.synced");
/// The key of that row.
pub(crate) const SYNCED_KEY: &[u8] = b"synced";
/// How the tables of this backend begin; a caller's may not.
pub(crate) const OWN_TABLES: &str = "rv.";

/// The open database and the sealers of its tables.
pub(crate) struct Database {
    pub(crate) db: DB,
    sealers: HashMap<Table, TableSealer>,
    /// Kept until the database is closed, which still reads and writes through it.
    _env: rocksdb::Env,
    /// The lock on the directory; let go after the database is closed.
    _lock: Option<std::fs::File>,
}

impl Database {
    pub(crate) fn new(
        db: DB,
        env: rocksdb::Env,
        sealer: &RowSealer,
        tables: impl Iterator<Item = Table>,
    ) -> Self {
        let sealers = tables.map(|table| (table, sealer.table(table))).collect();
        Self { db, sealers, _env: env, _lock: None }
    }

    /// The same, holding `lock` until it is closed.
    pub(crate) fn holding(self, lock: std::fs::File) -> Self {
        Self { _lock: Some(lock), ..self }
    }

    /// The caller's table of this name.
    pub(crate) fn table_named(&self, name: &[u8]) -> Option<Table> {
        self.sealers.keys().find(|table| table.0.as_bytes() == name).copied()
    }

    /// All tables, this backend's own included.
    pub(crate) fn tables(&self) -> impl Iterator<Item = Table> {
        self.sealers.keys().copied()
    }

    pub(crate) fn handle(&self, table: Table) -> Result<(&ColumnFamily, &TableSealer)> {
        let handle = self.db.cf_handle(table.0);
        handle.zip(self.sealers.get(&table)).ok_or_else(|| {
            Error::new(ErrorKind::Internal, "a table that this catalog was not opened with")
        })
    }

    /// Bytes of memory that RocksDB holds, by part.
    pub(crate) fn memory(&self) -> Vec<(&'static str, u64)> {
        let of_tables = |name: &str| -> u64 {
            let handles = self.tables().filter_map(|table| self.db.cf_handle(table.0));
            let bytes = handles.map(|handle| self.db.property_int_value_cf(handle, name));
            bytes.filter_map(|bytes| bytes.ok().flatten()).sum()
        };
        let cache = self.db.cf_handle(CHANGES.0).and_then(|handle| {
            self.db.property_int_value_cf(handle, "rocksdb.block-cache-usage").ok().flatten()
        });
        vec![
            // One cache for all tables.
            ("block_cache", cache.unwrap_or(0)),
            ("memtables", of_tables("rocksdb.cur-size-all-mem-tables")),
            ("table_readers", of_tables("rocksdb.estimate-table-readers-mem")),
        ]
    }

    /// Reads a row from `snapshot`, or as it is now.
    pub(crate) fn get(&self, key: &RowKey, snapshot: Option<&Snapshot<'_>>) -> Result<Option<Row>> {
        let (handle, sealer) = self.handle(key.table)?;
        let mut options = ReadOptions::default();
        if let Some(snapshot) = snapshot {
            options.set_snapshot(snapshot);
        }
        let found = self.db.get_pinned_cf_opt(handle, &key.key, &options);
        let Some(sealed) = found.map_err(fault("reading a catalog row"))? else { return Ok(None) };
        let (value, version) = sealer.open(&key.key, &sealed)?;
        Ok(Some(Row { key: key.key.clone(), value, version }))
    }

    /// An ordered walk over `table` in one state, the newest at the time of the call.
    pub(crate) fn cursor(&self, table: Table) -> Result<RowCursor<'_>> {
        let (handle, sealer) = self.handle(table)?;
        let mut options = ReadOptions::default();
        // The walk is bounded by pages; read-ahead beyond them would be thrown away.
        options.set_total_order_seek(true);
        Ok(RowCursor { iterator: self.db.raw_iterator_cf_opt(handle, options), sealer })
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("tables", &self.sealers.len()).finish_non_exhaustive()
    }
}

/// An iterator of RocksDB: holds the state that it was made in.
pub(crate) struct RowCursor<'a> {
    iterator: DBRawIterator<'a>,
    sealer: &'a TableSealer,
}

impl RowCursor<'_> {
    /// Goes to the last row.
    pub(crate) fn seek_to_last(&mut self) -> Result<()> {
        self.iterator.seek_to_last();
        self.checked()
    }

    /// An iterator that met an error looks like one that met the end.
    fn checked(&self) -> Result<()> {
        if self.iterator.valid() {
            return Ok(());
        }
        self.iterator.status().map_err(fault("walking a catalog table"))
    }
}

impl fold::Cursor for RowCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<()> {
        self.iterator.seek(key);
        self.checked()
    }

    fn step(&mut self) -> Result<()> {
        if self.iterator.valid() {
            self.iterator.next();
        }
        self.checked()
    }

    fn key(&self) -> Option<&[u8]> {
        self.iterator.key()
    }

    fn row(&self) -> Result<Row> {
        let (key, sealed) = self.iterator.item().ok_or_else(|| {
            Error::new(ErrorKind::Internal, "a row was asked for behind the last one")
        })?;
        let (value, version) = self.sealer.open(key, sealed)?;
        Ok(Row { key: key.to_vec(), value, version })
    }
}

/// What reads and the writer share.
pub(crate) type Shared = Arc<Database>;
