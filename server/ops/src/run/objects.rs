//! What workflows and runs need of buckets. The consumer's own trait: `object` serves it.

mod in_buckets;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use readvault_store::vault::{BodyError, FileRef, Item, Staged, VaultCommit};

use crate::{authorize::Permit, fault::Result};

/// The bytes of an output on their way to the vault.
pub type OutputBody = BoxStream<'static, Result<Bytes, BodyError>>;

/// An object as it stands now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocatedObject {
    /// Its bytes.
    pub file: FileRef,
    /// Its ETag, without quotes.
    pub etag: String,
    /// SHA-256 of its bytes, hexadecimal, where it is known.
    pub sha256: Option<String>,
}

/// An object that is staged and that nobody can see.
#[derive(Debug)]
#[must_use = "a pending object becomes visible only by ObjectAccess::commit"]
pub struct PendingObject {
    /// Its bucket.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// Its item.
    pub item: Item,
    /// Its bytes.
    pub staged: Staged,
    /// SHA-256 of its bytes, hexadecimal.
    pub sha256: String,
    /// Its ETag, without quotes.
    pub etag: String,
}

/// Objects of buckets, as workflows and runs use them. Object-safe; each method judges nothing: the
/// permit is for exactly what is asked.
#[async_trait]
pub trait ObjectAccess: Send + Sync + fmt::Debug {
    /// The current version of an object of an ordinary bucket.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchKey`; those of the catalog.
    async fn locate(&self, permit: &Permit, bucket: &str, key: &str) -> Result<LocatedObject>;

    /// Stages an object; nobody sees it before [`ObjectAccess::commit`]. `sha256` of the result is empty
    /// unless the implementation computed it.
    ///
    /// # Errors
    /// `NoSuchBucket`, `Immutable`; those of the body and of the vault.
    async fn stage(
        &self,
        permit: &Permit,
        bucket: &str,
        key: &str,
        body: OutputBody,
    ) -> Result<PendingObject>;

    /// Makes all of `puts` visible, and applies `extra`, as a whole or not at all: one commit. False on a
    /// conflict, after which everything staged is gone.
    ///
    /// # Errors
    /// `QuotaExceeded` when they are too many for one commit; those of the vault.
    async fn commit(
        &self,
        permit: &Permit,
        puts: Vec<PendingObject>,
        extra: VaultCommit,
    ) -> Result<bool>;
}
