//! The vault: stages files, makes them visible by one commit, opens them for reading.
//!
//! Joins the rooms below (`chunk`, `manifest`, `pack`, `chunk_store`, `keys`, `catalog`). Nothing staged is
//! visible before [`Vault::commit`], and a commit can be built from durable receipts only (INV-3).

use std::{
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use bytes::Bytes;
use futures::Stream;
use readvault_ambient::{Clock, Entropy};

use crate::{
    Error, ErrorKind, Result,
    catalog::{Catalog, RowKey, Table},
    checkpoints::{self, Checkpoint},
    chunk::ChunkId,
    chunk_store::{ChunkStore, PackInfo, PackSource},
    ids::{DomainId, ManifestId, WriterId},
    keys::VaultKeys,
    pack::Batch,
    usage::Usage,
};

mod assemble;
#[cfg(test)]
mod bench;
mod buffers;
mod choose;
mod commit;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod gc;
mod in_flight;
mod model;
mod open_file;
mod piece;
mod reader;
mod reassert;
pub mod rebuild;
mod recover;
mod scrub;
mod settle;
mod sharing;
mod stage;

pub use commit::{Committed, Removal, VaultCommit};
pub use gc::{Compaction, Cycle, GcOptions};
pub use model::{
    DomainChoice, FileRef, FileRole, FileSpec, INLINE_BYTES_MAX, Item, ItemKind,
    METADATA_BYTES_MAX, Metadata, SlotChoice, Store,
};
pub use reader::FileReader;
pub use scrub::{Damage, Damaged, PLACES_MAX, Scrub, ScrubOptions};
pub use settle::unsettled;
pub use sharing::{CHUNKS_SOUGHT_MAX, SHARERS_MAX, Sharer, Sharing};
pub use stage::{BodyError, StageError, Staged};

/// Rows of chunks: domain ‖ CID → where the record lies.
pub const CHUNKS: Table = Table("chunks");

/// Rows of manifests: manifest id → where the record lies.
pub const MANIFESTS: Table = Table("manifests");

/// One row a start: writer id → nothing; its commit shows how far the catalog got.
pub const WRITERS: Table = Table("writers");

/// Packs that no start needs to read: they are closed and agree with the catalog. Pack id → nothing.
pub const PACKS: Table = Table("packs");

/// One row: the epoch of GC, and how its last cycle ended.
pub const GC: Table = Table("gc");

/// The tables of the vault, for the backend to open beside those of the server.
pub const TABLES: &[Table] = &[CHUNKS, MANIFESTS, WRITERS, PACKS, GC];

/// Chunks of all uploads together that may be in memory between the socket and the disk: with those that are
/// sealed meanwhile, most of what a server holds under load.
pub const UPLOAD_CHUNKS_MAX: usize = 40;

/// What a vault is made of.
#[derive(Debug)]
pub struct VaultParams {
    /// The catalog, with [`TABLES`] open.
    pub catalog: Arc<dyn Catalog>,
    /// Where records go.
    pub chunks: Arc<dyn ChunkStore>,
    /// The keys.
    pub keys: Arc<VaultKeys>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Time, for the freshness of keys.
    pub clock: Arc<dyn Clock>,
    /// This start of this process.
    pub writer: WriterId,
    /// Another copy of the packs, from which damaged records are mended.
    pub copy: Option<Arc<dyn PackSource>>,
}

/// The vault of one data directory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Vault {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    catalog: Arc<dyn Catalog>,
    chunks: Arc<dyn ChunkStore>,
    keys: Arc<VaultKeys>,
    entropy: Arc<dyn Entropy>,
    writer: WriterId,
    room: Arc<tokio::sync::Semaphore>,
    manifests: open_file::ManifestCache,
    in_flight: Arc<in_flight::InFlight>,
    clock: Arc<dyn Clock>,
    copy: Option<Arc<dyn PackSource>>,
    /// The GC epoch of new and reused chunk rows.
    epoch: AtomicU32,
    /// Held by whoever collects, compacts or scrubs: one at a time.
    upkeep: tokio::sync::Mutex<()>,
    /// Held for reading by whoever needs that no pack goes; for writing while one is removed.
    pins: Arc<tokio::sync::RwLock<()>>,
    buffers: buffers::Buffers,
    /// Packs that this process closed and has not settled.
    closed: settle::Closed,
}

impl Vault {
    /// The vault over `params`. `packs` are the packs of earlier starts that [`unsettled`] names: what they
    /// hold and the catalog does not know is voided, and they are settled then.
    ///
    /// # Errors
    /// `Corrupt` when the catalog is older than what it acknowledged; `Unavailable`.
    pub async fn start(params: VaultParams, packs: &[crate::pack::PackContents]) -> Result<Self> {
        let epoch = gc::epoch(&*params.catalog).await?;
        let vault = Self::idle(params, epoch);
        recover::recover(&vault.inner, packs).await?;
        Ok(vault)
    }

    /// The vault over `params`, which has not looked at what earlier starts left.
    fn idle(params: VaultParams, epoch: u32) -> Self {
        let inner = Inner {
            catalog: params.catalog,
            chunks: params.chunks,
            keys: params.keys,
            entropy: params.entropy,
            writer: params.writer,
            room: Arc::new(tokio::sync::Semaphore::new(UPLOAD_CHUNKS_MAX)),
            manifests: open_file::ManifestCache::new(params.clock.clone()),
            clock: params.clock,
            copy: params.copy,
            in_flight: Arc::default(),
            epoch: AtomicU32::new(epoch),
            upkeep: tokio::sync::Mutex::default(),
            pins: Arc::default(),
            buffers: buffers::Buffers::default(),
            closed: settle::Closed::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The catalog, for rows of the server's own tables.
    #[must_use]
    pub fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.inner.catalog
    }

    /// The keys, for what an administrator does with them.
    #[must_use]
    pub fn keys(&self) -> &Arc<VaultKeys> {
        &self.inner.keys
    }

    /// This start of this process.
    #[must_use]
    pub fn writer(&self) -> WriterId {
        self.inner.writer
    }

    /// Chunks of uploads that are in memory now, of at most [`UPLOAD_CHUNKS_MAX`].
    #[must_use]
    pub fn chunks_in_flight(&self) -> usize {
        UPLOAD_CHUNKS_MAX - self.inner.room.available_permits()
    }

    /// Makes the keys of a new store. Durable when it returns; invisible until a row names the store.
    ///
    /// # Errors
    /// `KeyUnavailable` when the master key can't be used; `NoSpace`; `Unavailable`.
    pub async fn create_store(&self, account: &str, domain: DomainChoice) -> Result<Store> {
        self.inner.keys.create_store(account, domain).await
    }

    /// Makes a new item of `store` with a key of its own. Costs no fsync.
    ///
    /// # Errors
    /// `KeyUnavailable` when the store's key can't be used.
    pub async fn new_item(&self, store: &Store, kind: ItemKind, slot: SlotChoice) -> Result<Item> {
        self.inner.keys.new_item(store, kind, slot).await
    }

    /// Cuts, deduplicates, seals and stores `body`, then its manifest. Durable and invisible when it
    /// returns. An error of the body is returned as it came and stages nothing; so does dropping the
    /// future. Holds at most [`UPLOAD_CHUNKS_MAX`] full chunks of all uploads in memory, and one of each upload that is
    /// not full yet, whatever their length.
    ///
    /// # Errors
    /// Those of the body; `KeyUnavailable`; `NoSpace`; `Unavailable`.
    pub async fn stage<S>(&self, spec: FileSpec, body: S) -> Result<Staged, StageError>
    where
        S: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin,
    {
        stage::stage(&self.inner, spec, body).await
    }

    /// Stages one file made of `parts` in order, without rewriting a chunk.
    ///
    /// # Errors
    /// `InvalidInput` when a part is of another domain; as [`Vault::stage`] otherwise.
    pub async fn assemble(&self, spec: FileSpec, parts: &[FileRef]) -> Result<Staged> {
        assemble::assemble(&self.inner, spec, parts).await
    }

    /// Stages a file with the bytes of `source`, moving none, when both are of one domain; none when the
    /// domains differ and the bytes must be staged anew.
    ///
    /// # Errors
    /// `NotFound` when the source was deleted; as [`Vault::stage`] otherwise.
    pub async fn adopt(&self, spec: FileSpec, source: &FileRef) -> Result<Option<Staged>> {
        assemble::adopt(&self.inner, spec, source).await
    }

    /// Makes the rows and files of `commit` visible, as a whole or not at all.
    ///
    /// The rows of the files are added here; those that refer to them are the caller's. Durable when it
    /// returns. A refused commit voids its files before it is answered. Goes on to its end when the future is
    /// dropped, so that the packs do not say of what ends that it ended, and the catalog otherwise.
    ///
    /// # Errors
    /// `Unavailable` when the outcome is not known; `NoSpace`; `LimitExceeded`.
    pub async fn commit(&self, commit: VaultCommit) -> Result<Committed> {
        let inner = self.inner.clone();
        let ended = tokio::spawn(async move { commit::commit(&inner, commit).await }).await;
        ended.map_err(|cause| Error::new(ErrorKind::Internal, "a commit").because(cause))?
    }

    /// Who shares chunks with `files`: those of one item that has a shred slot of its own, and not been
    /// erased. Opens every manifest of the vault once, page by page; `told` hears how many so far.
    ///
    /// # Errors
    /// `NotFound`, `KeyUnavailable`, `Corrupt` for a file of the item itself; `Unavailable`.
    pub async fn sharing(
        &self,
        files: &[FileRef],
        told: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Sharing> {
        sharing::sharing(&self.inner, files, told).await
    }

    /// Destroys the shred slot of `files`, all of its items: neither they nor any copy of them open again,
    /// in whatever backup. Durable when it returns; idempotent. Rows are the caller's to remove, and
    /// retention and holds his to know. A read that is under way may go on to its end.
    ///
    /// # Errors
    /// `NotFound` for a slot that was never filled; `Unavailable`, then call again.
    pub async fn erase(&self, slot: u64, files: &[ManifestId]) -> Result<()> {
        self.inner.keys.erase_slot(slot).await?;
        files.iter().for_each(|manifest| self.inner.manifests.forget(*manifest));
        Ok(())
    }

    /// Opens a committed file for reading.
    ///
    /// # Errors
    /// `NotFound` when it was deleted; `KeyUnavailable`; `Corrupt`.
    pub async fn open_file(&self, file: &FileRef) -> Result<FileReader> {
        let open = self.inner.open_file(file).await?;
        Ok(FileReader::new(self.inner.clone(), open))
    }

    /// Drops the rows of chunks that nothing refers to, then moves what lives out of packs with enough dead
    /// bytes and removes these. Uploads, reads and deletions go on meanwhile; one call at a time works.
    /// Memory: at most 64 MiB for marks and 24 bytes a pack. Dropping the future, or a kill, at any point
    /// loses nothing; the next call goes on with what is left.
    ///
    /// # Errors
    /// `Corrupt` when a manifest is so damaged that its store is not known: then nothing is dropped.
    /// `NoSpace`, `Unavailable`.
    pub async fn collect_garbage(&self, options: GcOptions) -> Result<Cycle> {
        self.inner.collect(options).await
    }

    /// What the last finished cycle of garbage collection did; none when there was none.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn last_garbage_collection(&self) -> Result<Option<Cycle>> {
        self.inner.last_cycle().await
    }

    /// Reads every pack against its checksums, opens every chunk of a sample of files, and mends or quarantines
    /// what is damaged. `told` hears how far it is after each pack. Everything else goes on meanwhile.
    /// Dropping the future, or a kill, costs the pack that was being read; the next call goes on behind it.
    ///
    /// # Errors
    /// `NoSpace`, `Unavailable`. Damage is told in the result.
    pub async fn scrub(
        &self,
        options: ScrubOptions,
        told: &(dyn Fn(&Scrub) + Send + Sync),
    ) -> Result<Scrub> {
        self.inner.scrub(options, told).await
    }

    /// What the last finished scrub found; none when there was none.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn last_scrub(&self) -> Result<Option<Scrub>> {
        self.inner.last_scrub().await
    }

    /// How many packs there are.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn pack_count(&self) -> Result<u64> {
        Ok(self.inner.chunks.list().await?.len() as u64)
    }

    /// The packs that are here, the open one included, in no order.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn packs(&self) -> Result<Vec<PackInfo>> {
        self.inner.chunks.list().await
    }

    /// Settles the packs that this process closed, so that the next start need not read them: call it every
    /// few seconds, and once behind the last use. Costs nothing when no pack was closed. Gives how many; those
    /// whose uploads are still under way are left for the next call. Dropping the future loses nothing.
    ///
    /// # Errors
    /// `NoSpace`, `Unavailable`: call it again later.
    pub async fn settle_packs(&self) -> Result<u64> {
        self.inner.settle_closed().await
    }

    /// Keeps every pack where it is until the guard is dropped: for copies of the whole vault.
    pub async fn hold_packs(&self) -> tokio::sync::OwnedRwLockReadGuard<()> {
        Arc::clone(&self.inner.pins).read_owned().await
    }

    /// Uploads of this process that have begun and not ended.
    #[must_use]
    pub fn uploads_in_flight(&self) -> usize {
        self.inner.in_flight.count()
    }

    /// Writes a checkpoint of the catalog into `directory`, begun at `unix_ms`: it holds all that was
    /// committed before the call. Durable when it returns. One call at a time.
    ///
    /// # Errors
    /// As [`checkpoints::write`].
    pub async fn checkpoint(&self, directory: &Path, unix_ms: u64) -> Result<Checkpoint> {
        let version = recover::mark(&self.inner).await?;
        checkpoints::write(&*self.inner.catalog, directory, (unix_ms, version)).await
    }

    /// The limits of the vault, and how much of each is in use.
    #[must_use]
    pub fn usage(&self) -> Vec<Usage> {
        let inner = &self.inner;
        let chunks = UPLOAD_CHUNKS_MAX - inner.room.available_permits();
        let mut usage =
            vec![Usage::new("upload_chunks", chunks, UPLOAD_CHUNKS_MAX), inner.manifests.usage()];
        usage.extend(inner.keys.usage());
        usage
    }

    /// Wipes keys that may no longer be used, and plain bytes of reads that ended: call it every few seconds.
    pub fn expire(&self) {
        self.inner.keys.expire();
        self.inner.manifests.expire();
        self.inner.buffers.expire();
    }

    /// The bytes of a whole small file: [`Vault::open_file`] and one read.
    ///
    /// # Errors
    /// As [`Vault::open_file`]; `LimitExceeded` above 64 MiB.
    pub async fn read_file(&self, file: &FileRef) -> Result<Bytes> {
        if file.length > 64 << 20 {
            return Err(Error::new(ErrorKind::LimitExceeded, "length of a file read at once"));
        }
        let range: Range<u64> = 0..file.length;
        self.open_file(file).await?.read(range).await
    }
}

impl Inner {
    /// The current GC epoch.
    fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Appends voids for manifests that will never be visible.
    async fn void(&self, manifests: Vec<ManifestId>) -> Result<()> {
        if manifests.is_empty() {
            return Ok(());
        }
        let _durable = self.chunks.append(Batch { voids: manifests, ..Batch::default() }).await?;
        Ok(())
    }
}

/// The row of a chunk.
fn chunk_row(domain: DomainId, id: ChunkId) -> RowKey {
    let mut key = Vec::with_capacity(48);
    key.extend_from_slice(&domain.0);
    key.extend_from_slice(&id.0);
    RowKey::new(CHUNKS, key)
}

/// The row of a manifest.
fn manifest_row(id: ManifestId) -> RowKey {
    RowKey::new(MANIFESTS, id.0)
}

#[cfg(test)]
mod decay;
#[cfg(test)]
mod tests;
