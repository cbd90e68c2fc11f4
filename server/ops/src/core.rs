//! The ground of every operation: the vault, the site, time, randomness, rows and numeric ids.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures::Stream;
use readvault_ambient::{Clock, Entropy};
use readvault_store::{
    catalog::{Catalog, Commit, RowKey, Table},
    space::Space,
    vault::{BodyError, Committed, FileSpec, Staged, Vault, VaultCommit},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{Fault, FaultKind, body::stage_fault, fault::Result, tables};

/// Times that an operation reads, decides and commits again when another commit got in between.
pub const DECISIONS_MAX: usize = 5;

/// Ids leased at once from the catalog; what is left of a block at a stop is never used.
const ID_BLOCK: u64 = 64;

/// Where this vault stands: what its ARNs and URIs say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The account (12 digits).
    pub account: String,
    /// The region; looks like an AWS region, as URIs demand (`xx-word-n`).
    pub region: String,
}

impl Site {
    /// The ARN of `resource` of `service` here.
    #[must_use]
    pub fn arn(&self, service: &str, resource: &str) -> String {
        format!("arn:aws:{service}:{}:{}:{resource}", self.region, self.account)
    }
}

/// What every operation stands on. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Core {
    vault: Vault,
    space: Option<Arc<Space>>,
    site: Arc<Site>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    ids: Arc<Mutex<HashMap<&'static str, std::ops::Range<u64>>>>,
    /// Held by the one caller that leases numbers.
    leasing: Arc<tokio::sync::Mutex<()>>,
}

/// A row as it was read, with the version to check it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<T> {
    /// The value.
    pub value: T,
    /// Version of the commit that wrote it.
    pub version: u64,
}

/// A counter row of [`tables::IDS`].
#[derive(Serialize, Deserialize)]
pub(crate) struct Counter {
    pub(crate) next: u64,
}

/// The counter that says how far above its first number a family begins that has no counter yet: 0 unless
/// the catalog was rebuilt.
pub(crate) const FLOOR: &str = "*";

impl Core {
    /// The ground over `vault` at `site`.
    pub fn new(vault: Vault, site: Site, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let (ids, leasing) = (Arc::default(), Arc::default());
        Self { vault, space: None, site: Arc::new(site), clock, entropy, ids, leasing }
    }

    /// The same ground on a disk whose room is watched.
    #[must_use]
    pub fn on(self, space: Arc<Space>) -> Self {
        Self { space: Some(space), ..self }
    }

    /// The vault.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The catalog.
    #[must_use]
    pub fn catalog(&self) -> &Arc<dyn Catalog> {
        self.vault.catalog()
    }

    /// Where this vault stands.
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Milliseconds since 1970 by the wall clock.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.clock.unix_ms()
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Randomness.
    #[must_use]
    pub fn entropy(&self) -> &dyn Entropy {
        &*self.entropy
    }

    /// A random UUID (version 4).
    #[must_use]
    pub fn uuid(&self) -> uuid::Uuid {
        uuid::Builder::from_random_bytes(readvault_ambient::random(&*self.entropy)).into_uuid()
    }

    /// Stages data that a caller brings, unless the disk has no room for it: told before the first byte is
    /// asked for. Promises as [`Vault::stage`].
    ///
    /// # Errors
    /// `InsufficientStorage`, with the figures; those of the body and of the vault.
    pub async fn stage<S>(&self, spec: FileSpec, body: S) -> Result<Staged>
    where
        S: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin,
    {
        if let Some(space) = &self.space {
            space.admit().map_err(|error| {
                Fault::new(FaultKind::InsufficientStorage, error.to_string()).because(error)
            })?;
        }
        self.vault.stage(spec, body).await.map_err(stage_fault)
    }

    /// Reads one row.
    ///
    /// # Errors
    /// Those of the catalog; `Corrupt` when the value is not a `T`.
    pub async fn load<T: DeserializeOwned>(&self, row: &RowKey) -> Result<Option<Stored<T>>> {
        let rows = self.catalog().read(std::slice::from_ref(row)).await?;
        let Some(row) = rows.into_iter().next().flatten() else { return Ok(None) };
        Ok(Some(Stored { value: decode(&row.value)?, version: row.version }))
    }

    /// Makes the rows and files of `commit` visible; true when it applied, false on a conflict, after
    /// which the caller reads and decides again (at most [`DECISIONS_MAX`] times).
    ///
    /// # Errors
    /// Those of the vault.
    pub async fn commit(&self, commit: impl Into<VaultCommit>) -> Result<bool> {
        match self.vault.commit(commit.into()).await? {
            Committed::Applied { .. } => Ok(true),
            Committed::Conflict(_) => Ok(false),
        }
    }

    /// The next number of `family`, never used before and never again.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn next_id(&self, family: &'static str, first: u64) -> Result<u64> {
        if let Some(id) = self.leased(family) {
            return Ok(id);
        }
        // One caller leases for all: together they would only stand in each other's way.
        let _leasing = self.leasing.lock().await;
        for _ in 0..DECISIONS_MAX {
            if let Some(id) = self.leased(family) {
                return Ok(id);
            }
            self.lease(family, first).await?;
        }
        Err(contended())
    }

    /// Leases the next block of numbers, unless another changed the counter meanwhile.
    async fn lease(&self, family: &'static str, first: u64) -> Result<()> {
        let row = RowKey::new(tables::IDS, family);
        let counter: Option<Stored<Counter>> = self.load(&row).await?;
        let mut commit = Commit::new();
        let start = match &counter {
            Some(stored) => {
                commit.unchanged(row.clone(), stored.version);
                stored.value.next
            }
            None => {
                commit.absent(row.clone());
                let floor: Option<Stored<Counter>> =
                    self.load(&RowKey::new(tables::IDS, FLOOR)).await?;
                first + floor.map_or(0, |floor| floor.value.next)
            }
        };
        commit.put(row, encode(&Counter { next: start + ID_BLOCK }));
        if self.commit(commit).await? {
            let mut ids = self.ids.lock().expect("no holder of this lock panics");
            ids.insert(family, start..start + ID_BLOCK);
        }
        Ok(())
    }

    fn leased(&self, family: &'static str) -> Option<u64> {
        self.ids.lock().expect("no holder of this lock panics").get_mut(family)?.next()
    }
}

/// The fault of an operation whose rows changed [`DECISIONS_MAX`] times under it.
#[must_use]
pub fn contended() -> Fault {
    Fault::new(FaultKind::SlowDown, "the resource is changing; try again")
}

/// A value as it is kept in a row.
pub fn encode<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value).expect("row types serialise to JSON").into()
}

/// A value read back from a row.
///
/// # Errors
/// `Corrupt` when the bytes are not a `T`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|cause| Fault::new(FaultKind::Corrupt, "a row is malformed").because(cause))
}

/// A key of several texts: each escaped (00 → 00 FF) and ended by 00 01, so that order and prefixes hold.
#[must_use]
pub fn key_of(parts: &[&str]) -> Vec<u8> {
    let mut key = Vec::new();
    for part in parts {
        for byte in part.bytes() {
            key.push(byte);
            if byte == 0 {
                key.push(0xFF);
            }
        }
        key.extend_from_slice(&[0, 1]);
    }
    key
}

/// The row of `table` that several texts name.
#[must_use]
pub fn row_of(table: Table, parts: &[&str]) -> RowKey {
    RowKey::new(table, key_of(parts))
}

/// RFC 3339 in UTC with milliseconds and `Z`: the only form that every SDK takes.
#[must_use]
pub fn rfc3339(unix_ms: u64) -> String {
    let nanos = i128::from(unix_ms) * 1_000_000;
    let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let text = at.format(&Rfc3339).unwrap_or_default();
    match text.strip_suffix('Z') {
        Some(whole) if !whole.contains('.') => format!("{whole}.000Z"),
        _ => text,
    }
}

#[cfg(test)]
mod tests;
