//! Objects: each names itself.

use readvault_store::{
    catalog::{RowKey, Write},
    vault::rebuild::Found,
};

use super::Recovery;
use crate::{
    core::{Stored, decode, encode},
    fault::Result,
    object::{Object, key, named::Named},
};

impl Recovery<'_> {
    /// Writes the row of the object that `found` is. Of two that claim one key, which only a gap in the
    /// packs leaves, the later stays.
    pub(super) async fn take_object(&mut self, found: Found) -> Result<()> {
        let Ok(named) = decode::<Named>(&found.metadata) else {
            self.done.unreadable += 1;
            self.waiting.push(found.file.manifest);
            return Ok(());
        };
        let row = key::row(found.item.store.id, &named.key);
        if self.pending.writes.iter().any(|write| writes(write, &row)) {
            self.flush().await?;
        }
        let now: Option<Stored<Object>> = self.core.load(&row).await?;
        if now.is_some_and(|now| now.value.modified_ms > named.modified_ms) {
            self.waiting.push(found.file.manifest);
            return Ok(());
        }
        let object = Object {
            item: found.item,
            file: found.file,
            etag: named.etag,
            modified_ms: named.modified_ms,
            attributes: named.attributes,
            checksums: named.checksums,
            parts: if named.in_parts { found.parts } else { Vec::new() },
            null: true,
        };
        self.pending.put(row, encode(&object));
        self.done.objects += 1;
        self.written().await
    }
}

fn writes(write: &Write, row: &RowKey) -> bool {
    let (Write::Put(key, _) | Write::Delete(key)) = write;
    key == row
}
