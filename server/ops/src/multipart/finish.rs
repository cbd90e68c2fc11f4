//! Removes the parts of uploads that have ended.

use readvault_store::{
    catalog::{Commit, Fold, PAGE_ITEMS_MAX, RowKey, ScanRange},
    vault::VaultCommit,
};

use super::{Multiparts, Part, Upload, UploadState, part_prefix, part_row};
use crate::{Fault, core::decode, fault::Result, tables};

/// Parts that end in one commit: a few hundred rows and tombstones, well below a commit's limit.
pub(super) const PARTS_AT_ONCE: usize = 256;

impl Multiparts {
    /// All parts of an upload, by number: at most 10,000.
    pub(super) async fn all_parts(&self, id: &str) -> Result<Vec<Part>> {
        let mut range = ScanRange::prefix(tables::PARTS, part_prefix(id));
        let mut parts = Vec::new();
        loop {
            let page = self.core().catalog().scan(&range, &Fold::default(), PAGE_ITEMS_MAX).await?;
            let next = page.next.clone();
            for row in page.rows() {
                parts.push(decode(&row.value)?);
            }
            match next {
                Some(next) => range = range.from(next),
                None => return Ok(parts),
            }
        }
    }

    /// Removes the parts of every upload that ended without them: called once at a start.
    ///
    /// # Errors
    /// Those of the vault.
    pub async fn sweep(&self) -> Result<()> {
        let mut range = ScanRange::prefix(tables::MULTIPARTS, Vec::new());
        loop {
            let page = self.core().catalog().scan(&range, &Fold::default(), PAGE_ITEMS_MAX).await?;
            let next = page.next.clone();
            for row in page.rows() {
                let upload: Upload = decode(&row.value)?;
                if upload.state == UploadState::Ended {
                    self.finish(RowKey::new(tables::MULTIPARTS, row.key), &upload.id).await?;
                }
            }
            match next {
                Some(next) => range = range.from(next),
                None => return Ok(()),
            }
        }
    }

    /// Removes the parts of the upload that ended at `row`, then the row. May run twice.
    pub(super) async fn finish(&self, row: RowKey, id: &str) -> Result<()> {
        let range = ScanRange::prefix(tables::PARTS, part_prefix(id));
        loop {
            let page = self.core().catalog().scan(&range, &Fold::default(), PARTS_AT_ONCE).await?;
            let parts: Vec<Part> =
                page.rows().map(|row| decode(&row.value)).collect::<Result<_, Fault>>()?;
            if parts.is_empty() {
                let mut commit = Commit::new();
                commit.delete(row);
                self.core().commit(commit).await?;
                return Ok(());
            }
            let mut commit = VaultCommit::default();
            remove(&mut commit, id, &parts);
            self.core().commit(commit).await?;
        }
    }

    /// Does [`Multiparts::finish`] behind the answer; what a stop cuts short, [`Multiparts::sweep`]
    /// does.
    pub(super) fn finish_later(&self, row: RowKey, id: String) {
        let multiparts = self.clone();
        tokio::spawn(async move {
            if let Err(fault) = multiparts.finish(row, &id).await {
                tracing::warn!(upload = id, %fault, "ended parts are left for a sweep");
            }
        });
    }
}

/// Adds to `commit` what ends `parts` of upload `id`.
pub(super) fn remove(commit: &mut VaultCommit, id: &str, parts: &[Part]) {
    for part in parts {
        commit.commit.delete(part_row(id, part.number));
        commit.removes.push(part.removal());
    }
}
