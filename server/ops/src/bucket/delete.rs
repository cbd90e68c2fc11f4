//! DeleteBucket.

use readvault_store::{
    catalog::{Commit, Fold, ScanRange},
    vault::VaultCommit,
};

use super::{Bucket, BucketKind, Buckets, no_such_bucket, row};
use crate::{
    Fault, FaultKind,
    authorize::Permit,
    core::{DECISIONS_MAX, contended, encode},
    fault::Result,
    kept, multipart, tables,
};

impl Buckets {
    /// Deletes a bucket that holds no object and no upload. Durable when it returns.
    ///
    /// Marks the row first, then looks whether the bucket is empty, then deletes the row as it was
    /// marked: whatever is put into the bucket meanwhile takes the mark away, and the deletion
    /// starts again.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NotEmpty`; `Immutable` for the alias of a sequence store; `SlowDown` when
    /// the bucket keeps changing.
    pub async fn delete(&self, permit: &Permit, name: &str) -> Result<()> {
        let _ = permit;
        let row = row(name);
        for _ in 0..DECISIONS_MAX {
            let bucket = self.load(name).await?;
            let BucketKind::Objects { store, .. } = &bucket.value.kind else {
                return Err(super::immutable());
            };
            let mut mark = Commit::new();
            let marked = Bucket { closing: true, ..bucket.value.clone() };
            mark.unchanged(row.clone(), bucket.version).put(row.clone(), encode(&marked));
            if !self.core.commit(mark).await? {
                continue;
            }
            let marked = self.load(name).await?;
            if !marked.value.closing {
                continue;
            }
            let prefix = store.id.as_bytes().to_vec();
            let objects = ScanRange::prefix(tables::OBJECTS, prefix);
            let page = self.core.catalog().scan(&objects, &Fold::default(), 1).await?;
            if !page.items.is_empty() || multipart::open_in(&self.core, store.id).await? {
                return Err(Fault::new(
                    FaultKind::NotEmpty,
                    "the bucket holds objects or unfinished multipart uploads",
                ));
            }
            let mut commit = VaultCommit::default();
            commit.commit.unchanged(row.clone(), marked.version).delete(row.clone());
            kept::end(&self.core, &mut commit, &row).await?;
            if self.core.commit(commit).await? {
                self.forget(name);
                return Ok(());
            }
        }
        Err(contended())
    }

    /// Fails unless the bucket exists, without looking into the cache.
    pub(crate) async fn must_exist(&self, name: &str) -> Result<()> {
        let found = self.core.load::<Bucket>(&row(name)).await?;
        found.map(drop).ok_or_else(no_such_bucket)
    }
}
