//! GetBucketTagging, PutBucketTagging, DeleteBucketTagging.

use readvault_store::catalog::Commit;

use super::{Bucket, BucketKind, Buckets, immutable, row};
use crate::{
    Fault, FaultKind,
    authorize::Permit,
    core::{DECISIONS_MAX, contended, encode},
    fault::Result,
    object::tags,
};

impl Buckets {
    /// The tags of a bucket.
    ///
    /// # Errors
    /// `NoSuchBucket`; `NoSuchTagSet` when it has none.
    pub async fn tags(&self, permit: &Permit, name: &str) -> Result<Vec<(String, String)>> {
        let _ = permit;
        let tags = self.load(name).await?.value.tags;
        if tags.is_empty() {
            return Err(Fault::new(FaultKind::NoSuchTagSet, "the bucket has no tags"));
        }
        Ok(tags)
    }

    /// Replaces the tags of a bucket; an empty set removes them. Durable when it returns.
    ///
    /// # Errors
    /// `NoSuchBucket`, `InvalidTag`; `Immutable` for the alias of a sequence store; `SlowDown`.
    pub async fn set_tags(
        &self,
        permit: &Permit,
        name: &str,
        new: Vec<(String, String)>,
    ) -> Result<()> {
        let _ = permit;
        tags::check(&new, tags::BUCKET_TAGS_MAX)?;
        let row = row(name);
        for _ in 0..DECISIONS_MAX {
            let bucket = self.load(name).await?;
            if matches!(bucket.value.kind, BucketKind::ReadSets { .. }) {
                return Err(immutable());
            }
            let tagged = Bucket { tags: new.clone(), ..bucket.value };
            let mut commit = Commit::new();
            commit.unchanged(row.clone(), bucket.version).put(row.clone(), encode(&tagged));
            if self.core.commit(commit).await? {
                self.forget(name);
                return Ok(());
            }
        }
        Err(contended())
    }
}
