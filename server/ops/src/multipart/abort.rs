//! AbortMultipartUpload.

use readvault_store::vault::VaultCommit;

use super::{Multiparts, UploadName};
use crate::{
    authorize::Permit,
    core::{DECISIONS_MAX, contended},
    fault::Result,
};

impl Multiparts {
    /// Ends an upload and its parts. Durable when it returns.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchUpload`; `Immutable` for the alias of a sequence store; `SlowDown`.
    pub async fn abort(&self, permit: &Permit, name: &UploadName<'_>) -> Result<()> {
        let _ = permit;
        for _ in 0..DECISIONS_MAX {
            let open = self.open(name).await?;
            let parts = self.all_parts(name.id).await?;
            let mut commit = VaultCommit::default();
            commit.commit.unchanged(open.row.clone(), open.upload.version);
            let whole = self.end(&mut commit, &open.row, &open.upload.value, &parts);
            if self.core().commit(commit).await? {
                if !whole {
                    self.finish_later(open.row, open.upload.value.id);
                }
                return Ok(());
            }
        }
        Err(contended())
    }
}
