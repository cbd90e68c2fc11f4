//! Copies of rows: what they hold is written as it stands.

use bytes::Bytes;
use readvault_store::{
    catalog::{Commit, RowKey},
    vault::rebuild::Found,
};

use super::{Recovery, named::files};
use crate::{
    core::{decode, encode},
    fault::Result,
    inspection,
    kept::{Copied, Kept, kept_row},
    read_set::{ReadSet, ReadSetStatus, index},
    tables,
};

impl Recovery<'_> {
    /// Writes the rows that the copy `found` holds, and that this is their copy.
    pub(super) async fn take_copies(&mut self, found: Found) -> Result<()> {
        let manifest = found.file.manifest;
        let copied = match self.rebuild.vault().read_file(&found.file).await {
            Ok(bytes) => decode::<Copied>(&bytes).ok(),
            Err(cause) => {
                tracing::error!(%manifest, %cause, "a copy of rows can't be read");
                None
            }
        };
        let rows = copied.as_ref().and_then(|copied| {
            let row = |row: &crate::kept::CopiedRow| {
                Some((row.row()?, Bytes::copy_from_slice(row.value.get().as_bytes())))
            };
            copied.rows.iter().map(row).collect::<Option<Vec<_>>>()
        });
        let (Some(copied), Some(rows)) = (copied, rows) else {
            self.done.unreadable += 1;
            self.waiting.push(manifest);
            return Ok(());
        };
        let mut commit = std::mem::take(&mut self.pending);
        for (row, value) in &rows {
            self.claimed.extend(files(&decode(value)?));
            self.put(&mut commit, row, value)?;
        }
        if let Some((first, _)) = rows.first() {
            let kept = Kept { item: found.item, file: found.file };
            commit.put(kept_row(first), encode(&kept));
        }
        self.pending = commit;
        self.taken.extend(copied.taken);
        self.done.others += 1;
        self.written().await
    }

    fn put(&self, commit: &mut Commit, row: &RowKey, value: &Bytes) -> Result<()> {
        if row.table != tables::READ_SETS {
            commit.put(row.clone(), value.clone());
            return Ok(());
        }
        let read_set: ReadSet = decode(value)?;
        index::add(commit, &read_set);
        if read_set.status == ReadSetStatus::ProcessingUpload {
            inspection::enqueue(&self.jobs, commit, &read_set);
        }
        Ok(())
    }
}
