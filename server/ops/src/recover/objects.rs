//! Objects: each names itself.

use readvault_store::{catalog::Commit, vault::rebuild::Found};

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
        let manifest = found.file.manifest;
        self.waiting.push(manifest);
        let Ok(named) = decode::<Named>(&found.metadata) else {
            self.done.unreadable += 1;
            return Ok(());
        };
        let row = key::row(found.item.store.id, &named.key);
        let now: Option<Stored<Object>> = self.core.load(&row).await?;
        if now.is_some_and(|now| now.value.modified_ms > named.modified_ms) {
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
        let mut commit = Commit::new();
        commit.put(row, encode(&object));
        let _ = self.core.commit(commit).await?;
        self.claimed.insert(manifest);
        self.done.objects += 1;
        Ok(())
    }
}
