//! What reads and the writer share: tables by name, with their numbers in the database and their sealers.

use std::{collections::HashMap, fmt};

use readvault_store::{
    Error, ErrorKind, Result,
    catalog::{
        RowKey, Table,
        row::{RowSealer, TableSealer},
    },
};

/// The change log: a commit's version → its rows.
pub(crate) const CHANGES: Table = Table("rv.changes");
/// How the tables of this backend begin; a caller's may not.
pub(crate) const OWN_TABLES: &str = "rv.";

/// The tables that a catalog was opened with.
pub(crate) struct Tables {
    by_name: HashMap<Table, (i16, TableSealer)>,
    /// Seals entries of the change log.
    pub(crate) changes: TableSealer,
    /// Seals the writer's row.
    pub(crate) writer: TableSealer,
}

impl Tables {
    /// The `tables` whose numbers the database gave as `numbers`.
    pub(crate) fn new(
        tables: &[Table],
        numbers: &HashMap<String, i16>,
        sealer: &RowSealer,
    ) -> Self {
        let known = |table: &Table| Some((*table, (*numbers.get(table.0)?, sealer.table(*table))));
        Self {
            by_name: tables.iter().filter_map(known).collect(),
            changes: sealer.table(CHANGES),
            writer: sealer.table(crate::fence::WRITER),
        }
    }

    /// The number and the sealer of `table`.
    pub(crate) fn find(&self, table: Table) -> Result<(i16, &TableSealer)> {
        let found = self.by_name.get(&table).map(|(number, sealer)| (*number, sealer));
        found.ok_or_else(|| {
            Error::new(ErrorKind::Internal, "a table that this catalog was not opened with")
        })
    }

    /// The table of this name.
    pub(crate) fn named(&self, name: &[u8]) -> Option<Table> {
        self.by_name.keys().find(|table| table.0.as_bytes() == name).copied()
    }

    /// Numbers and keys of `rows`, as two columns.
    pub(crate) fn columns<'a>(
        &self,
        rows: impl Iterator<Item = &'a RowKey>,
    ) -> Result<(Vec<i16>, Vec<&'a [u8]>)> {
        let mut columns = (Vec::new(), Vec::new());
        for row in rows {
            columns.0.push(self.find(row.table)?.0);
            columns.1.push(&row.key[..]);
        }
        Ok(columns)
    }
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").field("count", &self.by_name.len()).finish_non_exhaustive()
    }
}
