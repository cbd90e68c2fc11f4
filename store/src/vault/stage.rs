//! One upload, one direction: cut → known? → seal → append → manifest.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream::FuturesOrdered};
use tokio::{sync::OwnedSemaphorePermit, task::JoinHandle};

use super::{
    FileRef, FileRole, FileSpec, INLINE_BYTES_MAX, Inner, METADATA_BYTES_MAX, chunk_row,
    in_flight::Hold,
};
use crate::{
    Error, ErrorKind, Result,
    catalog::{Commit, Durability, Outcome},
    chunk::{ChunkIdentity, Cutter, FileIdHasher, PlainChunk, seal_chunk},
    ids::StoreId,
    keys::OpenStore,
    manifest::{
        Digest, DigestKind, IdBlock, ManifestKeys, ManifestRow, ManifestSpec, ManifestWriter, Tail,
    },
    pack::{Batch, SealedRecord},
};

/// Chunks of one upload that are hashed, sealed and written at once: half of all that there is room for, so that
/// the next ones are sealed while the last group is on its way to the disk.
const IN_FLIGHT_MAX: usize = super::UPLOAD_CHUNKS_MAX / 2;

/// An error of the body that is being staged, as the caller made it.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Why a file was not staged.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The body ended with this error.
    #[error("the body ended with an error")]
    Body(#[source] BodyError),
    /// The vault could not keep it.
    #[error(transparent)]
    Store(#[from] Error),
}

/// A file whose chunks and manifest are durable and which nobody can see yet.
///
/// Dropped without a commit, its chunks are left to GC and its manifest to a void at the next start.
#[derive(Debug)]
#[must_use = "a staged file becomes visible only by Vault::commit"]
pub struct Staged {
    file: FileRef,
    row: ManifestRow,
    hold: Arc<Hold>,
}

impl Staged {
    /// What a row must keep to open this file.
    #[must_use]
    pub fn file(&self) -> &FileRef {
        &self.file
    }

    /// Where its manifest lies: known only once that is durable.
    pub(super) fn row(&self) -> &ManifestRow {
        &self.row
    }

    /// What keeps its chunks and its pack until the outcome of its commit is known.
    pub(super) fn hold(&self) -> &Hold {
        &self.hold
    }
}

/// Stages `body` as `spec` says.
pub(super) async fn stage<S>(
    inner: &Arc<Inner>,
    spec: FileSpec,
    mut body: S,
) -> Result<Staged, StageError>
where
    S: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin,
{
    let store = inner.keys.open_store(&spec.item.store).await?;
    let hold = Arc::new(inner.in_flight.hold());
    let mut pieces = Vec::new();
    if spec.role != FileRole::Part {
        match small(&mut body).await? {
            Beginning::Whole(bytes) => {
                let mut hasher = FileIdHasher::new(store.domain_keys());
                hasher.inline(store.domain_keys(), &bytes);
                let id = hasher.finish();
                let manifest = Finished { writer: ManifestWriter::inline(&bytes), id: Some(id.0) };
                return Ok(finish(inner, &spec, manifest, hold).await?);
            }
            Beginning::More(first) => pieces = first,
        }
    }
    let mut upload = Upload::new(inner.clone(), store.clone(), hold.clone());
    for piece in pieces {
        upload.push(piece).await?;
    }
    while let Some(piece) = body.next().await {
        upload.push(piece.map_err(StageError::Body)?).await?;
    }
    let manifest = upload.finish().await?;
    Ok(finish(inner, &spec, manifest, hold).await?)
}

/// How a body begins.
enum Beginning {
    /// It is no longer than what lives in a manifest.
    Whole(Bytes),
    /// It is longer; these are its first pieces.
    More(Vec<Bytes>),
}

async fn small<S>(body: &mut S) -> Result<Beginning, StageError>
where
    S: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin,
{
    let mut pieces = Vec::new();
    let mut length = 0;
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(StageError::Body)?;
        length += piece.len() as u64;
        pieces.push(piece);
        if length > INLINE_BYTES_MAX {
            return Ok(Beginning::More(pieces));
        }
    }
    if let [piece] = &pieces[..] {
        return Ok(Beginning::Whole(piece.clone()));
    }
    let mut whole = BytesMut::new();
    pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
    Ok(Beginning::Whole(whole.freeze()))
}

/// The chunks of one upload, on their way.
struct Upload {
    inner: Arc<Inner>,
    store: Arc<OpenStore>,
    cutter: Cutter,
    writer: ManifestWriter,
    file: FileIdHasher,
    hold: Arc<Hold>,
    in_flight: FuturesOrdered<Stored>,
}

/// The storing of one chunk; ended when the upload is dropped.
struct Stored(JoinHandle<Result<ChunkIdentity>>);

impl Future for Stored {
    type Output = Result<ChunkIdentity>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(context).map(|joined| {
            joined.map_err(|cause| Error::new(ErrorKind::Internal, "chunk task").because(cause))?
        })
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Upload {
    fn new(inner: Arc<Inner>, store: Arc<OpenStore>, hold: Arc<Hold>) -> Self {
        let size = store.chunk_size();
        Self {
            inner,
            cutter: Cutter::new(size),
            writer: ManifestWriter::chunks(size),
            file: FileIdHasher::new(store.domain_keys()),
            store,
            hold,
            in_flight: FuturesOrdered::new(),
        }
    }

    async fn push(&mut self, mut piece: Bytes) -> Result<()> {
        while !piece.is_empty() {
            if let Some(chunk) = self.cutter.push(&mut piece) {
                self.send(chunk).await?;
            }
        }
        Ok(())
    }

    /// Sends a chunk on its way, once there is room for it.
    async fn send(&mut self, chunk: PlainChunk) -> Result<()> {
        while self.in_flight.len() >= IN_FLIGHT_MAX {
            self.arrived().await?;
        }
        let room = self.inner.room.clone().acquire_owned().await;
        let room = room.map_err(|_| Error::new(ErrorKind::Internal, "room for chunks"))?;
        let (inner, store, hold) = (self.inner.clone(), self.store.clone(), self.hold.clone());
        let stored =
            tokio::spawn(async move { store_chunk(&inner, store, (chunk, room), &hold).await });
        self.in_flight.push_back(Stored(stored));
        Ok(())
    }

    async fn arrived(&mut self) -> Result<()> {
        if let Some(identity) = self.in_flight.next().await {
            let identity = identity?;
            self.file.chunk(&identity);
            self.writer.push(&identity.into_ref())?;
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Finished> {
        let cutter = std::mem::replace(&mut self.cutter, Cutter::new(self.store.chunk_size()));
        if let Some(last) = cutter.finish() {
            self.send(last).await?;
        }
        while !self.in_flight.is_empty() {
            self.arrived().await?;
        }
        self.writer.end_part()?;
        Ok(Finished { writer: self.writer, id: Some(self.file.finish().0) })
    }
}

/// A manifest whose entries are all there, and the file's id where its bytes were seen.
pub(super) struct Finished {
    pub(super) writer: ManifestWriter,
    pub(super) id: Option<[u8; 32]>,
}

/// Stores one chunk unless its domain holds it already; durable when it returns.
async fn store_chunk(
    inner: &Inner,
    store: Arc<OpenStore>,
    (chunk, room): (PlainChunk, OwnedSemaphorePermit),
    hold: &Hold,
) -> Result<ChunkIdentity> {
    let naming = store.clone();
    let (identity, chunk) = blocking(move || {
        let identity = naming.domain_keys().identify(&chunk);
        (identity, chunk)
    })
    .await?;
    if inner.reuse(&identity, hold).await? {
        return Ok(identity);
    }
    let (entropy, size) = (inner.entropy.clone(), store.chunk_size());
    let (sealed, identity) = blocking(move || {
        let sealed = seal_chunk(&identity, &chunk, size, &*entropy);
        (sealed, identity)
    })
    .await?;
    let batch = Batch { records: vec![SealedRecord::from(&sealed)], ..Batch::default() };
    let _appending = inner.in_flight.appending();
    let receipt = inner.chunks.append(batch).await?;
    let place = receipt.extents()[0];
    let row = chunk_row(identity.domain(), identity.id());
    let mut commit = Commit { durability: Durability::Ordered, ..Commit::new() };
    commit.put(row, sealed.row(place.pack, place.offset, inner.epoch()).encode());
    // The bytes go before their room is given away; the wait for the catalog needs neither.
    drop(sealed);
    drop(room);
    match inner.catalog.commit(commit).await? {
        Outcome::Applied { .. } => Ok(identity),
        // Without the row nobody may refer to the chunk; what was appended is left to GC.
        Outcome::Conflict(_) | Outcome::Unknown => {
            Err(Error::new(ErrorKind::Unavailable, "the row of a chunk"))
        }
    }
}

/// Seals and appends the manifest of a file whose chunks are durable.
pub(super) async fn finish(
    inner: &Inner,
    spec: &FileSpec,
    manifest: Finished,
    hold: Arc<Hold>,
) -> Result<Staged> {
    let Finished { writer, id: file_id } = manifest;
    let metadata = spec.metadata.bytes();
    if metadata.len() > METADATA_BYTES_MAX {
        return Err(Error::new(ErrorKind::LimitExceeded, "metadata of a file"));
    }
    let key = inner.keys.item_key(&spec.item).await?;
    let id = id_block(spec);
    let file_id = file_id.map(|id| Digest { kind: DigestKind::FileId, value: id.to_vec() });
    let tail = Tail { digests: file_id.into_iter().collect(), facts: Bytes::new(), metadata };
    let block = inner.keys.key_block(&spec.item)?;
    let length = writer.length();
    let keys = ManifestKeys { vault: inner.keys.vault_key(), item: &key };
    let spec_of = ManifestSpec { id: &id, key: &block, tail: &tail };
    let sealed = writer.seal(spec_of, keys, &*inner.entropy)?;
    let batch = Batch { records: vec![SealedRecord::from(&sealed)], ..Batch::default() };
    let appending = inner.in_flight.appending();
    let receipt = inner.chunks.append(batch).await?;
    let place = receipt.extents()[0];
    hold.pack(place.pack);
    drop(appending);
    let file = FileRef { store: store_of(spec), manifest: sealed.id(), length };
    Ok(Staged { file, row: sealed.row(place.pack, place.offset), hold })
}

fn store_of(spec: &FileSpec) -> StoreId {
    spec.item.store.id
}

fn id_block(spec: &FileSpec) -> IdBlock {
    IdBlock {
        account: spec.item.store.account.clone(),
        store: spec.item.store.id,
        kind: spec.item.kind as u8,
        item: spec.item.id,
        role: spec.role as u8,
        generation: 0,
        sequence: 0,
        slot: spec.item.slot,
        replaces: spec.replaces.clone(),
    }
}

/// Runs work of some hundred microseconds on the pool for it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|cause| Error::new(ErrorKind::Internal, "worker").because(cause))
}
