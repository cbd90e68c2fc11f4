//! Buckets: rows and names. The operations are in files of their own below `bucket/`.
//!
//! A bucket's row is the guard of its emptiness: every commit that puts something into the bucket
//! checks that the row is of the version that it read, and a deletion marks the row before it
//! looks.

pub mod create;
pub mod delete;
pub mod name;
pub mod read;
pub mod tagging;

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use readvault_store::{
    catalog::{Commit, RowKey},
    vault::Store,
};
use serde::{Deserialize, Serialize};

use crate::{
    Fault, FaultKind,
    core::{Core, Stored, decode, encode},
    fault::Result,
    tables,
};

/// Age up to which a bucket row may be used for a read.
pub const CACHED_MAX: Duration = Duration::from_secs(5);

/// Rows that are held for reads at most; above it, all are forgotten.
const CACHED_ROWS_MAX: usize = 4096;

/// A bucket, as its row holds it. Key: its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: BucketKind,
    /// Milliseconds since 1970 at which it was made.
    pub created_ms: u64,
    /// Tags of the bucket.
    #[serde(default)]
    pub tags: Vec<(String, String)>,
    /// Whether somebody is finding out if it can be deleted. Whoever puts something into it takes
    /// the mark away in the same commit, so that the deletion sees that it came too late.
    #[serde(default)]
    pub closing: bool,
}

/// What a bucket holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum BucketKind {
    /// Objects of its own. A drop bucket shares the domain of a sequence store, so that an import
    /// from it moves no data.
    Objects {
        /// Where they are sealed.
        store: Store,
        /// The sequence store that it is a drop bucket of.
        drop_of: Option<String>,
    },
    /// The read sets of a sequence store, read-only: its access-point alias.
    ReadSets {
        /// Id of the sequence store.
        sequence_store: String,
    },
}

/// The row of the bucket `name`.
#[must_use]
pub fn row(name: &str) -> RowKey {
    RowKey::new(tables::BUCKETS, name)
}

impl Bucket {
    /// Where its objects are sealed.
    ///
    /// # Errors
    /// `Immutable` for the alias of a sequence store.
    pub fn objects(&self) -> Result<&Store> {
        match &self.kind {
            BucketKind::Objects { store, .. } => Ok(store),
            BucketKind::ReadSets { .. } => Err(immutable()),
        }
    }
}

/// The refusal of whatever writes to the alias of a sequence store.
#[must_use]
pub fn immutable() -> Fault {
    let message = "read sets are immutable and this bucket is read-only: \
                   create read sets by the import or upload calls of the omics API";
    Fault::new(FaultKind::Immutable, message)
}

/// The fault of a bucket that does not exist.
#[must_use]
pub fn no_such_bucket() -> Fault {
    Fault::new(FaultKind::NoSuchBucket, "the specified bucket does not exist")
}

/// A bucket as it was read, and when.
type Cached = (Duration, Arc<Bucket>);

/// The operations on buckets. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Buckets {
    core: Core,
    cache: Arc<Mutex<HashMap<String, Cached>>>,
}

impl Buckets {
    /// The buckets of the vault that `core` stands on.
    #[must_use]
    pub fn new(core: Core) -> Self {
        Self { core, cache: Arc::default() }
    }

    /// What they stand on.
    #[must_use]
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// The bucket `name`, at most [`CACHED_MAX`] old: for reads only.
    ///
    /// # Errors
    /// `NoSuchBucket`; those of the catalog.
    pub async fn lookup(&self, name: &str) -> Result<Arc<Bucket>> {
        let now = self.core.clock().monotonic();
        if let Some((at, bucket)) = self.cache.lock().get(name)
            && now.saturating_sub(*at) < CACHED_MAX
        {
            return Ok(bucket.clone());
        }
        let bucket = Arc::new(self.load(name).await?.value);
        let mut cache = self.cache.lock();
        if cache.len() >= CACHED_ROWS_MAX {
            cache.clear();
        }
        cache.insert(name.into(), (now, bucket.clone()));
        Ok(bucket)
    }

    /// The bucket `name` as its row stands now.
    ///
    /// # Errors
    /// `NoSuchBucket`; those of the catalog.
    pub async fn load(&self, name: &str) -> Result<Stored<Bucket>> {
        self.core.load(&row(name)).await?.ok_or_else(no_such_bucket)
    }

    /// The bucket `name` and the row `key`, both of one state.
    pub(crate) async fn load_with<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
        key: RowKey,
    ) -> Result<(Stored<Bucket>, Option<Stored<T>>)> {
        let mut rows = self.core.catalog().read(&[row(name), key]).await?.into_iter();
        let bucket = rows.next().flatten().ok_or_else(no_such_bucket)?;
        let bucket = Stored { value: decode(&bucket.value)?, version: bucket.version };
        let other = match rows.next().flatten() {
            Some(row) => Some(Stored { value: decode(&row.value)?, version: row.version }),
            None => None,
        };
        Ok((bucket, other))
    }

    pub(crate) fn forget(&self, name: &str) {
        self.cache.lock().remove(name);
    }
}

/// Makes `commit`, which puts something into `bucket`, apply only while that still exists.
pub(crate) fn guard(commit: &mut Commit, bucket: &Stored<Bucket>) {
    let row = row(&bucket.value.name);
    commit.unchanged(row.clone(), bucket.version);
    if bucket.value.closing {
        commit.put(row, encode(&Bucket { closing: false, ..bucket.value.clone() }));
    }
}
