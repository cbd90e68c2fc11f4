//! Finds what a key stands for, in a bucket of objects or in the alias of a sequence store.

use readvault_store::{catalog::RowKey, vault::FileRef};
use serde::Deserialize;

use super::{Attributes, Checksums, Objects, alias, key};
use crate::{
    Fault, FaultKind, bucket::BucketKind, core::Stored, fault::Result, read_set::ReadSetStatus,
};

/// What a key stands for: of the row of an object, what a read needs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Found {
    /// Its bytes.
    pub file: FileRef,
    /// Its ETag, without quotes.
    pub etag: String,
    /// Milliseconds since 1970 at which it was put.
    pub modified_ms: u64,
    /// What its owner said about it.
    pub attributes: Attributes,
    /// Its checksums.
    #[serde(default)]
    pub checksums: Checksums,
    /// Its parts, as [`Object::parts`](super::Object::parts).
    #[serde(default)]
    pub parts: Vec<(u32, u64)>,
    /// Where the read set that it is a file of stands; none for an object.
    #[serde(skip)]
    pub read_set: Option<ReadSetStatus>,
}

impl Found {
    /// Fails unless its bytes may be read now.
    ///
    /// # Errors
    /// `InvalidState` for a read set that is not active.
    pub fn readable(&self) -> Result<()> {
        match self.read_set {
            None | Some(ReadSetStatus::Active) => Ok(()),
            Some(_) => Err(Fault::new(
                FaultKind::InvalidState,
                "the read set is not active: activate it, or wait until it is",
            )),
        }
    }
}

/// A key of a version of an object: only the `null` version exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    /// Name of the bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// The version id that was asked for.
    pub version: Option<&'a str>,
}

impl<'a> Name<'a> {
    /// The newest version of `key` of `bucket`.
    #[must_use]
    pub fn new(bucket: &'a str, key: &'a str) -> Self {
        Self { bucket, key, version: None }
    }

    /// Checks the key and the version id.
    ///
    /// # Errors
    /// `InvalidKey`, `KeyTooLong`; `NoSuchVersion` for any version id but `null`.
    pub fn check(&self) -> Result<()> {
        key::check(self.key)?;
        match self.version {
            None | Some("null" | "") => Ok(()),
            Some(_) => Err(Fault::new(
                FaultKind::NoSuchVersion,
                "the specified version does not exist: this bucket is not versioned",
            )),
        }
    }
}

/// The fault of a key that names nothing.
pub(crate) fn no_such_key() -> Fault {
    Fault::new(FaultKind::NoSuchKey, "the specified key does not exist")
}

impl Objects {
    /// What `name` stands for: one read when the bucket is cached.
    pub(crate) async fn find(&self, name: &Name<'_>) -> Result<Found> {
        name.check()?;
        let bucket = self.buckets.lookup(name.bucket).await?;
        match &bucket.kind {
            BucketKind::ReadSets { sequence_store } => {
                alias::find(self.core(), sequence_store, name.key).await
            }
            BucketKind::Objects { store, .. } => {
                let row: RowKey = key::row(store.id, name.key);
                match self.core().load::<Found>(&row).await? {
                    Some(Stored { value, .. }) => Ok(value),
                    None => {
                        // The bucket may be gone, or made anew, since it was cached.
                        self.buckets.forget(name.bucket);
                        self.again(name, store.id).await
                    }
                }
            }
        }
    }

    async fn again(&self, name: &Name<'_>, seen: readvault_store::ids::StoreId) -> Result<Found> {
        let bucket = self.buckets.lookup(name.bucket).await?;
        let now = bucket.objects().map_err(|_| no_such_key())?.id;
        if now == seen {
            return Err(no_such_key());
        }
        let object = self.core().load::<Found>(&key::row(now, name.key)).await?;
        object.map(|stored| stored.value).ok_or_else(no_such_key)
    }
}
