//! Where batches become durable and records are read from.
//!
//! The vault, GC and scrub call [`ChunkStore`]; what a record holds is none of its business, except
//! that it adds the sealed index to each batch. `local` keeps pack files, `memory` keeps bytes,
//! `null` keeps nothing (benches).

mod assemble;
mod copy;
mod descriptors;
mod files;
mod local;
mod memory;
mod null;
mod writer;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use readvault_ambient::Entropy;

pub use copy::{PackCopy, PackSource};
pub use local::{LocalChunkStore, PackPlace};
pub use memory::MemoryChunkStore;
pub use null::NullChunkStore;

use crate::{
    Error, ErrorKind, Result,
    ids::{PackId, WriterId},
    pack::{Batch, PackContents},
    seal::VaultKey,
};

/// Most bytes of one pack.
pub const PACK_BYTES_MAX: u64 = 1 << 30;

/// Records, tombstones and voids at which a local store closes a pack, so that a start which finds it open, as an end
/// in the middle leaves it, has few to read.
pub const PACK_ENTRIES_MAX: usize = 128 << 10;

/// Most bytes that the records of one batch may have.
pub const BATCH_BYTES_MAX: u64 = 768 << 20;

/// Most records, tombstones and voids of one batch.
pub const BATCH_ENTRIES_MAX: usize = 64 << 10;

/// A contiguous stretch of one pack.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Extent {
    /// The pack.
    pub pack: PackId,
    /// Where in the pack it begins.
    pub offset: u64,
    /// Its bytes.
    pub length: u32,
}

/// Proof that a batch is durable. Only a chunk store can make one.
#[derive(Debug)]
#[must_use = "a receipt is what a commit is built from"]
pub struct Receipt {
    extents: Vec<Extent>,
}

impl Receipt {
    /// Where the batch's records lie, in their order.
    #[must_use]
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }
}

/// One pack, as an upkeep sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PackInfo {
    /// The pack.
    pub pack: PackId,
    /// Its bytes.
    pub bytes: u64,
    /// Whether this process still writes it.
    pub open: bool,
}

/// Keeps batches of sealed records.
#[async_trait]
pub trait ChunkStore: Send + Sync + fmt::Debug {
    /// Appends a batch and its sealed index. `Ok` means durable. Batches that wait together share
    /// one index and one sync. Dropping the future leaves open whether the batch is stored.
    ///
    /// # Errors
    /// `LimitExceeded` above [`BATCH_BYTES_MAX`] or [`BATCH_ENTRIES_MAX`]; `NoSpace`;
    /// `Unavailable`. After an error the batch's manifests are voided by the next batch that
    /// succeeds.
    async fn append(&self, batch: Batch) -> Result<Receipt>;

    /// Reads exactly `extent`. Dropping the future has no effect.
    ///
    /// # Errors
    /// `NotFound` when there is no such pack; `Corrupt` when it ends before; `Unavailable`.
    async fn read(&self, extent: Extent) -> Result<Bytes>;

    /// The packs that are here, those of earlier starts included, in no order.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn list(&self) -> Result<Vec<PackInfo>>;

    /// Whether `pack` is here, sound or not. Reads nothing of it.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn holds(&self, pack: PackId) -> Result<bool>;

    /// What the footer of `pack` tells; none when it has no sound one. Reads no more than that.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`.
    async fn footer(&self, pack: PackId) -> Result<Option<PackContents>>;

    /// What `pack` holds: of a closed pack as its footer tells, of another as all its bytes do.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`. Damage, and a pack that was never begun, are told in the result.
    async fn summary(&self, pack: PackId) -> Result<PackContents>;

    /// Removes a pack that nothing refers to and nobody writes. Durable when it returns; a pack that is
    /// not there is as good as removed. Reads of it fail with `NotFound` from then on.
    ///
    /// # Errors
    /// `InvalidInput` for the open pack; `Unavailable`.
    async fn remove(&self, pack: PackId) -> Result<()>;

    /// Fills `buffer` with the bytes of `pack` from `offset` without waiting for a disk or another
    /// thread, and tells whether it could: false when it can't now, and then `buffer` holds
    /// anything and [`ChunkStore::read`] tells why. To say false is always right, so a store that
    /// has no such way, or that wraps another to watch its reads, leaves this out.
    ///
    /// # Errors
    /// `Unavailable`.
    fn read_now(&self, pack: PackId, offset: u64, buffer: &mut [u8]) -> Result<bool> {
        let _ = (pack, offset, buffer);
        Ok(false)
    }

    /// The packs that were closed since the last call, each with its footer: they get no further record. A pack
    /// is given once; one that was left without a footer never.
    fn take_closed(&self) -> Vec<PackId>;

    /// Notes that the catalog commit of this version was acknowledged: later indexes say so. Never goes
    /// back.
    fn acknowledge(&self, sequence: u64);
}

/// What every store that writes indexes needs.
#[derive(Clone, Debug)]
pub struct StoreParams {
    /// VK, which seals the indexes.
    pub vault_key: Arc<VaultKey>,
    /// This start of this process.
    pub writer: WriterId,
    /// Where pack ids and salts come from.
    pub entropy: Arc<dyn Entropy>,
}

/// Refuses a batch that is too large to be appended at once.
fn check_batch(batch: &Batch) -> Result<()> {
    if batch.record_bytes() > BATCH_BYTES_MAX || batch.entry_count() > BATCH_ENTRIES_MAX {
        return Err(Error::new(ErrorKind::LimitExceeded, "size of a batch"));
    }
    Ok(())
}
