//! GetObjectTagging, PutObjectTagging, DeleteObjectTagging.

use readvault_store::catalog::Commit;

use super::{
    Objects,
    find::{Name, no_such_key},
    key, tags,
};
use crate::{
    authorize::Permit,
    bucket::BucketKind,
    core::{DECISIONS_MAX, contended, encode},
    fault::Result,
};

impl Objects {
    /// The tags of an object; those of a file of a read set tell its subject, sample and status.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchKey`, `NoSuchVersion`, `InvalidKey`, `KeyTooLong`.
    pub async fn tags(&self, permit: &Permit, name: &Name<'_>) -> Result<Vec<(String, String)>> {
        let _ = permit;
        let bucket = self.buckets.lookup(name.bucket).await?;
        if let BucketKind::ReadSets { sequence_store } = &bucket.kind {
            name.check()?;
            return super::alias::tags(self.core(), sequence_store, name.key).await;
        }
        Ok(self.find(name).await?.attributes.tags)
    }

    /// Replaces the tags of an object. Durable when it returns.
    ///
    /// # Errors
    /// `Immutable` for the alias of a sequence store, whose tags follow from its read sets;
    /// `InvalidTag`; as [`Objects::tags`]; `SlowDown`.
    pub async fn set_tags(
        &self,
        permit: &Permit,
        name: &Name<'_>,
        new: Vec<(String, String)>,
    ) -> Result<()> {
        let _ = permit;
        let id = self.buckets.lookup(name.bucket).await?.objects()?.id;
        name.check()?;
        tags::check(&new, tags::OBJECT_TAGS_MAX)?;
        let _lock = self.locks.lock(&key::row(id, name.key)).await;
        for _ in 0..DECISIONS_MAX {
            let place = self.place(name.bucket, name.key).await?;
            let mut current = place.current.ok_or_else(no_such_key)?;
            current.value.attributes.tags = new.clone();
            let mut commit = Commit::new();
            commit.unchanged(place.row.clone(), current.version);
            commit.put(place.row, encode(&current.value));
            if self.core().commit(commit).await? {
                return Ok(());
            }
        }
        Err(contended())
    }
}
