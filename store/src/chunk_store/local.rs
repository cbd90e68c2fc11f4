//! Pack files in a local directory.

// Under the tests of schedules, threads are theirs (`tests/shuttle`).
#[cfg(shuttle)]
use shuttle::thread;
#[cfg(not(shuttle))]
use std::thread;
use std::{
    borrow::Cow,
    cell::Cell,
    ops::Range,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::{
    ChunkStore, Extent, PACK_BYTES_MAX, PackInfo, Receipt, StoreParams,
    assemble::Chain,
    check_batch,
    descriptors::Descriptors,
    files::PackFiles,
    writer::{InHand, Waiting, Writer},
};
use crate::{
    Error, ErrorKind, Result,
    disk::{Disk, DiskFile, LocalDisk},
    error,
    ids::PackId,
    pack::{
        Batch, FOOTER_END_BYTES, PACK_HEADER_BYTES, PackBytes, PackContents, RecordName,
        SealedRecord, footer_offset, read_closed, read_pack_of,
    },
    seal::VaultKey,
    space::Space,
    usage::Usage,
};

/// Batches that may wait for the writer; further ones wait in their callers.
const WAITING_MAX: usize = 256;

/// Bytes of a footer that is read alone; a larger one is read with its pack.
const FOOTER_BYTES_MAX: u64 = 128 << 20;

/// Bytes up to which copying from memory is cheaper than a change of thread.
const READ_HERE_MAX: u32 = 2 << 20;

/// Keeps packs as files of one directory. Each start writes packs of its own: no pack is ever
/// appended to by two writers, nor after a failed write or sync.
///
/// Dropping the store closes its open pack in the background; [`LocalChunkStore::close`] waits for
/// it.
#[derive(Debug)]
pub struct LocalChunkStore {
    files: Arc<PackFiles>,
    descriptors: Arc<Descriptors>,
    in_hand: Arc<InHand>,
    acknowledged: Arc<AtomicU64>,
    waiting: Mutex<Option<mpsc::Sender<Waiting>>>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
    vault_key: Arc<VaultKey>,
    space: OnceLock<Arc<Space>>,
}

/// Where a local chunk store keeps its packs, and how large they become.
#[derive(Clone, Debug)]
pub struct PackPlace {
    /// Whose files they are.
    pub disk: Arc<dyn Disk>,
    /// Their directory, made when it is not there.
    pub directory: PathBuf,
    /// Bytes at which a pack is closed, at most [`PACK_BYTES_MAX`]; a larger batch has a pack of its
    /// own.
    pub pack_bytes_max: u64,
}

impl LocalChunkStore {
    /// The packs of `directory` of the local disk, made when it is not there.
    ///
    /// # Errors
    /// `NoSpace`, `Unavailable`.
    pub fn open(directory: impl Into<PathBuf>, params: StoreParams) -> Result<Self> {
        let (disk, directory) = (Arc::new(LocalDisk), directory.into());
        Self::open_at(PackPlace { disk, directory, pack_bytes_max: PACK_BYTES_MAX }, params)
    }

    /// The packs of `place`.
    ///
    /// # Errors
    /// `NoSpace`, `Unavailable`.
    pub fn open_at(place: PackPlace, params: StoreParams) -> Result<Self> {
        let PackPlace { disk, directory, pack_bytes_max } = place;
        let files = PackFiles::open(disk, directory).map_err(error::io("directory of packs"))?;
        let files = Arc::new(files);
        let acknowledged = Arc::new(AtomicU64::new(0));
        let vault_key = params.vault_key.clone();
        let in_hand = Arc::<InHand>::default();
        let chain = Chain::new(params, acknowledged.clone());
        let writer = Writer::new(files.clone(), chain, in_hand.clone());
        let writer = writer.closing_at(pack_bytes_max);
        let (waiting, receiver) = mpsc::channel(WAITING_MAX);
        let thread = thread::Builder::new()
            .name("pack-writer".into())
            .spawn(move || writer.run(receiver))
            .map_err(error::io("thread of the pack writer"))?;
        Ok(Self {
            descriptors: Arc::new(Descriptors::new(files.clone())),
            files,
            in_hand,
            acknowledged,
            waiting: Mutex::new(Some(waiting)),
            thread: Mutex::new(Some(thread)),
            vault_key,
            space: OnceLock::new(),
        })
    }

    /// Asks `space` before chunks are appended, and tells it of a full disk. Said once, before the first
    /// append.
    pub fn reserve(&self, space: Arc<Space>) {
        // A second one is dropped: the first is of the same disk.
        let _ = self.space.set(space);
    }

    /// Descriptors of packs that are kept open for reads.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.descriptors.usage()
    }

    /// The packs that are here, those of earlier starts included, in no order.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn packs(&self) -> Result<Vec<PackId>> {
        self.files.list().map_err(error::io("directory of packs"))
    }

    /// Reads what `pack` holds from its bytes alone, record by record.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`. Damage, and a pack that was never begun, are told in the result.
    pub async fn contents(&self, pack: PackId) -> Result<PackContents> {
        let (descriptors, vault_key) = (self.descriptors.clone(), self.vault_key.clone());
        blocking(move || {
            let file = descriptors.file(pack).map_err(error::io(format!("pack {pack}")))?;
            let length = file.length().map_err(error::io(format!("pack {pack}")))?;
            let bytes = FileBytes { file: &*file, length, unread: Cell::default() };
            let mut contents = read_pack_of(pack, &bytes, &vault_key);
            contents.unread = bytes.unread.take();
            Ok(contents)
        })
        .await
    }

    /// As [`ChunkStore::read`], on this thread, which waits for the disk.
    ///
    /// # Errors
    /// As [`ChunkStore::read`].
    pub fn read_here(&self, extent: Extent) -> Result<Bytes> {
        wait_for(&self.descriptors, extent)
    }

    /// Closes the open pack, after all batches that wait, and ends the writer. Later appends are
    /// refused.
    ///
    /// # Errors
    /// `Internal` when the writer panicked.
    pub async fn close(&self) -> Result<()> {
        drop(self.waiting.lock().take());
        let Some(thread) = self.thread.lock().take() else { return Ok(()) };
        let ended = tokio::task::spawn_blocking(move || thread.join());
        match ended.await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Error::new(ErrorKind::Internal, "pack writer")),
        }
    }
}

impl LocalChunkStore {
    async fn send(&self, batch: Batch) -> Result<Receipt> {
        let closed = || Error::new(ErrorKind::Unavailable, "the pack writer has ended");
        let waiting = self.waiting.lock().clone().ok_or_else(closed)?;
        let (answer, answered) = oneshot::channel();
        waiting.send(Waiting { batch, answer }).await.map_err(|_| closed())?;
        drop(waiting);
        answered.await.map_err(|_| closed())?
    }

    /// The bytes of `extent` when they can be had without waiting for the disk, so that no other
    /// thread is needed for them.
    fn read_cached(&self, extent: Extent) -> Result<Option<Bytes>> {
        if extent.length > READ_HERE_MAX {
            return Ok(None);
        }
        let mut bytes = vec![0; extent.length as usize];
        let read = self.read_now(extent.pack, extent.offset, &mut bytes)?;
        Ok(read.then(|| bytes.into()))
    }
}

fn wait_for(descriptors: &Descriptors, extent: Extent) -> Result<Bytes> {
    let at = || format!("pack {} at {}", extent.pack, extent.offset);
    let file = descriptors.file(extent.pack).map_err(|cause| error::io(at())(cause))?;
    let mut bytes = vec![0; extent.length as usize];
    let read = file.read_exact_at(&mut bytes, extent.offset);
    read.map_err(|cause| error::io(at())(cause))?;
    Ok(bytes.into())
}

/// A pack file as it is walked.
struct FileBytes<'a> {
    file: &'a dyn DiskFile,
    length: u64,
    /// The stretch in which reads failed: a disk that can't be read now is no torn end.
    unread: Cell<Option<Range<u64>>>,
}

impl PackBytes for FileBytes<'_> {
    fn length(&self) -> u64 {
        self.length
    }

    fn read(&self, at: u64, length: usize) -> Cow<'_, [u8]> {
        let left = usize::try_from(self.length.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(left)];
        match self.file.read_exact_at(&mut bytes, at) {
            Ok(()) => Cow::Owned(bytes),
            Err(cause) => {
                tracing::error!(at, kind = %cause.kind(), "a stretch of a pack can't be read");
                let (start, end) = (at, at + bytes.len() as u64);
                let met = self.unread.take().unwrap_or(start..end);
                self.unread.set(Some(met.start.min(start)..met.end.max(end)));
                Cow::Owned(Vec::new())
            }
        }
    }
}

/// What a pack with a sound footer holds.
fn closed(file: &dyn DiskFile, vault_key: &VaultKey) -> std::io::Result<Option<PackContents>> {
    let length = file.length()?;
    let least = (PACK_HEADER_BYTES + FOOTER_END_BYTES) as u64;
    if length < least {
        return Ok(None);
    }
    let mut end = [0; FOOTER_END_BYTES];
    file.read_exact_at(&mut end, length - FOOTER_END_BYTES as u64)?;
    let Some(offset) = footer_offset(&end) else { return Ok(None) };
    let Some(footer_bytes) = length.checked_sub(offset) else { return Ok(None) };
    if footer_bytes > FOOTER_BYTES_MAX {
        return Ok(None);
    }
    let mut header = [0; PACK_HEADER_BYTES];
    file.read_exact_at(&mut header, 0)?;
    let mut footer = vec![0; usize::try_from(footer_bytes).expect("the footer is bounded")];
    file.read_exact_at(&mut footer, offset)?;
    Ok(read_closed(&header, &footer, vault_key))
}

#[async_trait]
impl ChunkStore for LocalChunkStore {
    async fn append(&self, batch: Batch) -> Result<Receipt> {
        check_batch(&batch)?;
        let Some(space) = self.space.get() else { return self.send(batch).await };
        let is_chunk = |record: &SealedRecord| matches!(record.name(), RecordName::Chunk(..));
        if space.is_full() && batch.records.iter().any(is_chunk) {
            space.admit()?;
        }
        // What ends items must find room, and may be appended again: no record is in doubt by it.
        let again = batch.records.is_empty().then(|| batch.clone());
        let sent = self.send(batch).await;
        if sent.as_ref().is_err_and(|cause| cause.kind() == ErrorKind::NoSpace) {
            space.met_full();
            if let Some(batch) = again {
                return self.send(batch).await;
            }
        }
        sent
    }

    async fn read(&self, extent: Extent) -> Result<Bytes> {
        if let Some(bytes) = self.read_cached(extent)? {
            return Ok(bytes);
        }
        let descriptors = self.descriptors.clone();
        blocking(move || wait_for(&descriptors, extent)).await
    }

    async fn list(&self) -> Result<Vec<PackInfo>> {
        let (files, descriptors) = (self.files.clone(), self.descriptors.clone());
        let in_hand = self.in_hand.clone();
        blocking(move || {
            let mut packs = Vec::new();
            // Before: a pack that is closed meanwhile counts as open, which is the safe side. And after: one
            // that is begun meanwhile may be listed.
            let before = in_hand.open();
            let listed = files.list().map_err(error::io("directory of packs"))?;
            let open = [before, in_hand.open()];
            for pack in listed {
                let file = descriptors.file(pack).map_err(error::io(format!("pack {pack}")))?;
                let bytes = file.length().map_err(error::io(format!("pack {pack}")))?;
                packs.push(PackInfo { pack, bytes, open: open.contains(&Some(pack)) });
            }
            Ok(packs)
        })
        .await
    }

    async fn holds(&self, pack: PackId) -> Result<bool> {
        // Of a file that was removed under this process an open descriptor would go on to tell.
        let files = self.files.clone();
        blocking(move || match files.read(pack) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(false),
            file => file.map(|_| true).map_err(error::io(format!("pack {pack}"))),
        })
        .await
    }

    async fn footer(&self, pack: PackId) -> Result<Option<PackContents>> {
        let (descriptors, vault_key) = (self.descriptors.clone(), self.vault_key.clone());
        let closed = blocking(move || {
            let file = descriptors.file(pack).map_err(error::io(format!("pack {pack}")))?;
            closed(&*file, &vault_key).map_err(error::io(format!("pack {pack}")))
        });
        Ok(closed.await?.filter(|contents| contents.header.pack == pack))
    }

    async fn summary(&self, pack: PackId) -> Result<PackContents> {
        match self.footer(pack).await? {
            Some(contents) => Ok(contents),
            None => self.contents(pack).await,
        }
    }

    async fn remove(&self, pack: PackId) -> Result<()> {
        if self.in_hand.open() == Some(pack) {
            return Err(Error::new(ErrorKind::InvalidInput, "the open pack can't be removed"));
        }
        let (files, descriptors) = (self.files.clone(), self.descriptors.clone());
        blocking(move || {
            match files.remove(pack) {
                Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.map_err(error::io(format!("pack {pack}")))?,
            }
            descriptors.forget(pack);
            Ok(())
        })
        .await
    }

    fn read_now(&self, pack: PackId, offset: u64, buffer: &mut [u8]) -> Result<bool> {
        let Some(file) = self.descriptors.open(pack) else { return Ok(false) };
        let read = file.read_cached_at(buffer, offset);
        read.map_err(|cause| error::io(format!("pack {pack} at {offset}"))(cause))
    }

    fn take_closed(&self) -> Vec<PackId> {
        self.in_hand.take_closed()
    }

    fn acknowledge(&self, sequence: u64) {
        self.acknowledged.fetch_max(sequence, Ordering::SeqCst);
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|cause| Error::new(ErrorKind::Internal, "reading a pack").because(cause))?
}
