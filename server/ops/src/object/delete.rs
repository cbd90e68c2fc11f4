//! DeleteObject. DeleteObjects is this for each of its keys, each with a permit of its own.

use readvault_store::{catalog::Commit, vault::VaultCommit};

use super::{
    Objects,
    condition::{EtagIs, WriteConditions},
    find::Name,
    key,
};
use crate::{
    authorize::Permit,
    core::{DECISIONS_MAX, contended},
    fault::Result,
};

impl Objects {
    /// Deletes an object. A key that names nothing is deleted already. Durable when it returns.
    ///
    /// # Errors
    /// `NoSuchBucket`; `Immutable` for the alias of a sequence store; `InvalidKey`, `KeyTooLong`,
    /// `NoSuchVersion`; `PreconditionFailed` or `NoSuchKey` when `matches` does not hold; those of
    /// the vault.
    pub async fn delete(
        &self,
        permit: &Permit,
        name: &Name<'_>,
        matches: Option<EtagIs>,
    ) -> Result<()> {
        let _ = permit;
        let id = self.buckets.lookup(name.bucket).await?.objects()?.id;
        name.check()?;
        let conditions = WriteConditions { matches, absent: false };
        let _lock = self.locks.lock(&key::row(id, name.key)).await;
        for _ in 0..DECISIONS_MAX {
            let place = self.place(name.bucket, name.key).await?;
            conditions.check(place.etag())?;
            let Some(current) = place.current else { return Ok(()) };
            let mut commit = Commit::new();
            commit.unchanged(place.row.clone(), current.version).delete(place.row);
            let removes = vec![current.value.removal()];
            if self.core().commit(VaultCommit { commit, files: Vec::new(), removes }).await? {
                return Ok(());
            }
        }
        Err(contended())
    }
}
