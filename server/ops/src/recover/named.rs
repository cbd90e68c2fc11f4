//! Which files the rows name, and which rows name a file that has ended.

use readvault_store::{
    catalog::{Fold, PAGE_ITEMS_MAX, Row, RowKey, ScanRange, Table},
    ids::ManifestId,
};
use serde_json::Value;

use super::{Recovery, remove::remove};
use crate::{core::decode, fault::Result, kept, tables};

/// Tables whose rows name files.
const NAMING: [Table; 8] = [
    tables::KEPT,
    tables::OBJECTS,
    tables::READ_SETS,
    tables::REFERENCES,
    tables::WORKFLOWS,
    tables::PARTS,
    tables::RUN_RECORDS,
    tables::JOB_ITEMS,
];

/// Files that a value names: wherever a manifest and a length stand together.
pub(super) fn files(value: &Value) -> Vec<ManifestId> {
    let mut found = Vec::new();
    walk(value, &mut found);
    found
}

fn walk(value: &Value, found: &mut Vec<ManifestId>) {
    match value {
        Value::Object(members) => {
            if let (Some(Value::String(id)), Some(_)) =
                (members.get("manifest"), members.get("length"))
            {
                found.extend(id.parse::<ManifestId>().ok());
            }
            members.values().for_each(|member| walk(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
        _ => {}
    }
}

impl Recovery<'_> {
    /// Takes out the rows that name a file which is not visible, and gives all files that the others name,
    /// in order: 16 bytes of memory each.
    pub(super) async fn compare(&mut self) -> Result<Vec<ManifestId>> {
        let mut named = Vec::new();
        for table in NAMING {
            let mut range = ScanRange::prefix(table, []);
            loop {
                let page =
                    self.core.catalog().scan(&range, &Fold::default(), PAGE_ITEMS_MAX).await?;
                let next = page.next.clone();
                for row in page.rows() {
                    self.compare_row(table, &row, &mut named).await?;
                }
                match next {
                    Some(next) => range = range.from(next),
                    None => break,
                }
            }
        }
        named.sort_unstable();
        named.dedup();
        Ok(named)
    }

    async fn compare_row(
        &mut self,
        table: Table,
        row: &Row,
        named: &mut Vec<ManifestId>,
    ) -> Result<()> {
        let files = files(&decode(&row.value)?);
        for file in &files {
            if !self.rebuild.is_visible(*file).await? {
                return self.gone(table, row).await;
            }
        }
        named.extend(files);
        Ok(())
    }

    async fn gone(&mut self, table: Table, row: &Row) -> Result<()> {
        self.done.ended += 1;
        let key = RowKey::new(table, row.key.clone());
        match table {
            // The job sees at its next attempt that its bytes are gone, and says so.
            tables::JOB_ITEMS => Ok(()),
            tables::KEPT => {
                remove(self.core, &key).await?;
                match kept::row_of(&row.key) {
                    Some(of) => remove(self.core, &of).await,
                    None => Ok(()),
                }
            }
            _ => remove(self.core, &key).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn files_are_found_wherever_they_stand() {
        let id = |byte: u8| ManifestId([byte; 16]);
        let file = |byte: u8| json!({ "store": "s", "manifest": id(byte), "length": 1 });
        let value =
            json!({ "file": file(1), "deep": [{ "index": file(2) }, { "manifest": id(3) }] });
        let mut found = files(&value);
        found.sort();
        assert_eq!(found, [id(1), id(2)]);
    }
}
