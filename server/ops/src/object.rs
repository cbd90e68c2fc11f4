//! Objects of buckets: rows, and the operations, in files of their own below `object/`.
//!
//! A bucket is not versioned yet: each key has one row, whose version sequence is 0 and whose
//! version id is `null`. The layout of keys (`key`) leaves room for versions. Reads of the
//! alias of a sequence store are answered from the rows of its read sets (`alias`).

pub mod alias;
pub mod condition;
pub mod copy;
pub mod delete;
pub mod etag;
pub mod find;
pub mod get;
pub mod key;
pub mod list;
mod locks;
pub(crate) mod named;
pub mod put;
pub mod range;
mod shown;
pub mod tagging;
pub mod tags;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use readvault_store::{
    catalog::RowKey,
    vault::{FileRef, Item, Removal},
};
use serde::{Deserialize, Serialize};

use crate::{
    body::Checksum,
    bucket::{Bucket, Buckets, no_such_bucket},
    core::{Core, Stored},
    fault::Result,
};

pub use find::Found;

/// Bytes of user metadata, names and values together, at most.
pub const METADATA_BYTES_MAX: usize = 2048;

/// Bytes of one object that is put by one request, at most (5 GiB).
pub const PUT_BYTES_MAX: u64 = 5 << 30;

/// Bytes of one object, at most (48.8 TiB: 10,000 parts of 5 GiB).
pub const OBJECT_BYTES_MAX: u64 = 10_000 * PUT_BYTES_MAX;

/// Headers that are kept with an object and given back as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headers {
    /// `Content-Type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// `Cache-Control`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// `Content-Disposition`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    /// `Content-Encoding`, without `aws-chunked`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    /// `Expires`, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// What a caller says about an object beside its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Headers.
    #[serde(default)]
    pub headers: Headers,
    /// User metadata: lower-case names without `x-amz-meta-`, and values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<(String, String)>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<(String, String)>,
}

/// Checksums of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksums {
    /// Those of all its bytes (`FULL_OBJECT`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub whole: Vec<Checksum>,
    /// That of its parts' checksums (`COMPOSITE`), and the number of parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub composite: Option<(Checksum, u32)>,
}

/// An object, as its row holds it. Key: [`key::row`]. What lists show stands first (`shown`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its ETag, without quotes.
    pub etag: String,
    /// Milliseconds since 1970 at which it was put.
    pub modified_ms: u64,
    /// Its checksums.
    #[serde(default)]
    pub checksums: Checksums,
    /// Its bytes.
    pub file: FileRef,
    /// Its item in the vault.
    pub item: Item,
    /// What its owner said about it.
    pub attributes: Attributes,
    /// Its parts, when it was put in parts: runs of (number of parts, bytes of each).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<(u32, u64)>,
    /// Whether its version id is `null`.
    pub null: bool,
}

impl Object {
    /// What ends when this row is replaced or removed.
    #[must_use]
    pub fn removal(&self) -> Removal {
        Removal { item: self.item.id, files: vec![self.file.clone()] }
    }
}

/// Settings of objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What ETags are.
    pub etag: etag::Rule,
}

/// The operations on objects. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Objects {
    buckets: Buckets,
    locks: Arc<locks::KeyLocks>,
    settings: Settings,
}

/// A key of a bucket that holds objects, and what is there now.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) bucket: Stored<Bucket>,
    pub(crate) row: RowKey,
    pub(crate) current: Option<Stored<Object>>,
}

impl Objects {
    /// The objects of `buckets`.
    #[must_use]
    pub fn new(buckets: Buckets, settings: Settings) -> Self {
        Self { buckets, locks: Arc::default(), settings }
    }

    /// The buckets.
    #[must_use]
    pub fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    /// What they stand on.
    #[must_use]
    pub fn core(&self) -> &Core {
        self.buckets.core()
    }

    /// The place of `key` in the bucket `name`, as it stands now: one read when the bucket is
    /// cached.
    pub(crate) async fn place(&self, name: &str, key: &str) -> Result<Place> {
        for _ in 0..2 {
            let id = self.buckets.lookup(name).await?.objects()?.id;
            let row = key::row(id, key);
            let loaded = self.buckets.load_with(name, row.clone()).await;
            if let Ok((bucket, current)) = loaded {
                if bucket.value.objects()?.id == id {
                    return Ok(Place { bucket, row, current });
                }
                self.buckets.forget(name);
            } else {
                self.buckets.forget(name);
                return Err(loaded.err().unwrap_or_else(no_such_bucket));
            }
        }
        Err(no_such_bucket())
    }

    pub(crate) async fn lock(&self, row: &RowKey) -> tokio::sync::MutexGuard<'_, ()> {
        self.locks.lock(row).await
    }

    pub(crate) fn settings(&self) -> Settings {
        self.settings
    }
}
