//! Open manifests, kept for a while.

use std::{collections::HashMap, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use readvault_ambient::Clock;

use super::{FileRef, Inner, manifest_row};
use crate::{
    Error, ErrorKind, Result,
    chunk::ChunkRef,
    chunk_store::{ChunkStore, Extent},
    ids::ManifestId,
    manifest::{ManifestHead, ManifestReader, ManifestRow},
    usage::Usage,
};

/// A manifest record of at most so many bytes is read at once, and kept unless its front is all of it.
const RECORD_WHOLE_MAX: u32 = 160 << 10;

/// Bytes of open manifests that are kept.
const MANIFEST_BYTES_MAX: usize = 48 << 20;

/// Bytes that an open manifest takes beside those of its record and body.
const MANIFEST_EXTRA_BYTES: usize = 2 << 10;

/// Times that a manifest is looked for at another place, when compaction moved it.
pub(super) const MOVES_MAX: usize = 4;

/// Time for which an open manifest serves: as long as one use of its key keeps that fresh.
const FRESH: Duration = Duration::from_secs(40);

/// One open file: its manifest, and how to fetch more of it.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) manifest: ManifestReader,
    id: ManifestId,
    /// Where the record lies, as far as this knows.
    row: Mutex<ManifestRow>,
    record: Option<Bytes>,
}

impl OpenFile {
    /// Bytes of memory that this takes, about.
    fn weight(&self) -> usize {
        let record = self.record.as_ref().map_or(0, Bytes::len);
        self.manifest.memory_bytes() + record + MANIFEST_EXTRA_BYTES
    }

    /// The entries `range` of the manifest.
    pub(super) async fn entries(&self, inner: &Inner, range: Range<u32>) -> Result<Vec<ChunkRef>> {
        let entries = self.manifest.entries(range, |stored| self.fetch(inner, stored)).await;
        entries.map_err(|cause| placed(cause, *self.row.lock()))
    }

    /// The bytes of a file that lives in its manifest.
    pub(super) async fn inline(&self, inner: &Inner) -> Result<Bytes> {
        let bytes = self.manifest.inline(|stored| self.fetch(inner, stored)).await;
        bytes.map_err(|cause| placed(cause, *self.row.lock()))
    }

    /// `NotFound` when the file has been deleted since it was opened.
    pub(super) async fn still_named(&self, inner: &Inner) -> Result<()> {
        inner.manifest_row_of(self.id).await.map(drop)
    }

    /// The stored bytes `range` of the manifest's record.
    pub(super) async fn fetch(&self, inner: &Inner, range: Range<u64>) -> Result<Bytes> {
        let row = *self.row.lock();
        match fetch(&*inner.chunks, row, self.record.as_ref(), range.clone()).await {
            // Compaction moved it.
            Err(cause) if cause.kind() == ErrorKind::NotFound => {
                let row = inner.manifest_row_of(self.id).await?;
                *self.row.lock() = row;
                fetch(&*inner.chunks, row, self.record.as_ref(), range).await
            }
            fetched => fetched,
        }
    }
}

fn place(row: ManifestRow) -> String {
    format!("manifest in pack {} at {}", row.pack, row.offset)
}

/// An error of the manifest that `row` names; of damage it says where.
fn placed(cause: Error, row: ManifestRow) -> Error {
    match cause.kind() {
        ErrorKind::Corrupt => Error::corrupt(place(row)).because(cause),
        _ => cause,
    }
}

/// An error of the item key of a manifest: its sealed seed may be damaged, or a shred slot, or the key log.
fn of_item_key(cause: Error, row: ManifestRow) -> Error {
    match cause.kind() {
        ErrorKind::Corrupt => {
            Error::corrupt(format!("the item key of the {}: {cause}", place(row))).because(cause)
        }
        _ => cause,
    }
}

async fn fetch(
    chunks: &dyn ChunkStore,
    row: ManifestRow,
    record: Option<&Bytes>,
    range: Range<u64>,
) -> Result<Bytes> {
    let outside = || Error::corrupt("range of a manifest record");
    if range.end > u64::from(row.length) || range.start > range.end {
        return Err(outside());
    }
    if let Some(record) = record {
        let narrow = |at: u64| usize::try_from(at).map_err(|_| outside());
        return Ok(record.slice(narrow(range.start)?..narrow(range.end)?));
    }
    let length = u32::try_from(range.end - range.start).map_err(|_| outside())?;
    chunks.read(Extent { pack: row.pack, offset: row.offset + range.start, length }).await
}

impl Inner {
    /// Opens the manifest of `file`, or finds it open.
    pub(super) async fn open_file(&self, file: &FileRef) -> Result<Arc<OpenFile>> {
        if let Some(open) = self.manifests.get(file.manifest) {
            self.keys.check(file.store).await?;
            return Ok(open);
        }
        let endings = self.manifests.endings();
        let open = Arc::new(self.open_anew(file.manifest).await?);
        self.manifests.keep(file.manifest, open.clone(), endings);
        Ok(open)
    }

    /// Opens a manifest for this use alone.
    pub(super) async fn open_anew(&self, id: ManifestId) -> Result<OpenFile> {
        let (mut row, mut tries) = (self.manifest_row_of(id).await?, 0..MOVES_MAX);
        let whole = row.length <= RECORD_WHOLE_MAX;
        let length = if whole { row.length } else { row.head_bytes };
        let bytes = loop {
            let extent = Extent { pack: row.pack, offset: row.offset, length };
            match self.chunks.read(extent).await {
                Err(cause) if cause.kind() == ErrorKind::NotFound && tries.next().is_some() => {
                    row = self.manifest_row_of(id).await?;
                }
                bytes => break bytes?,
            }
        };
        let at = || place(row);
        let head = ManifestHead::open(&bytes, self.keys.vault_key());
        let head = head.map_err(|cause| Error::corrupt(at()).because(cause))?;
        if head.manifest() != id {
            return Err(Error::corrupt(format!("another {}", at())));
        }
        let key = self.keys.item_key_of(head.id(), head.key()).await;
        let key = key.map_err(|cause| of_item_key(cause, row))?;
        let record = whole.then_some(bytes);
        let chunks = &*self.chunks;
        let manifest =
            ManifestReader::open(head, &key, |range| fetch(chunks, row, record.as_ref(), range))
                .await
                .map_err(|cause| Error::new(cause.kind(), at()).because(cause))?;
        let record = record.filter(|_| !manifest.is_whole());
        Ok(OpenFile { manifest, id, row: Mutex::new(row), record })
    }

    pub(super) async fn manifest_row_of(&self, id: ManifestId) -> Result<ManifestRow> {
        let found = self.catalog.read(&[manifest_row(id)]).await?.into_iter().next().flatten();
        let found = found.ok_or_else(|| Error::new(ErrorKind::NotFound, "manifest"))?;
        Ok(ManifestRow::decode(&found.value)?)
    }
}

/// Open manifests by id, bounded in bytes and time.
#[derive(Debug)]
pub(super) struct ManifestCache {
    clock: Arc<dyn Clock>,
    open: Mutex<Manifests>,
}

#[derive(Debug, Default)]
struct Manifests {
    by_id: HashMap<ManifestId, Kept>,
    bytes: usize,
    /// How often something was let go of because it had ended.
    endings: u64,
}

impl Manifests {
    fn remove(&mut self, id: ManifestId) {
        if let Some(kept) = self.by_id.remove(&id) {
            self.bytes -= kept.file.weight();
        }
    }

    /// Lets go of all that `leaves` names.
    fn retain(&mut self, leaves: impl Fn(&Kept) -> bool) {
        let gone: Vec<_> =
            self.by_id.iter().filter(|(_, kept)| leaves(kept)).map(|(id, _)| *id).collect();
        gone.into_iter().for_each(|id| self.remove(id));
    }
}

#[derive(Debug)]
struct Kept {
    file: Arc<OpenFile>,
    since: Duration,
}

impl ManifestCache {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, open: Mutex::default() }
    }

    /// Bytes of the manifests that are kept.
    pub(super) fn usage(&self) -> Usage {
        Usage::new("manifest_cache_bytes", self.open.lock().bytes, MANIFEST_BYTES_MAX)
    }

    fn get(&self, id: ManifestId) -> Option<Arc<OpenFile>> {
        let now = self.clock.monotonic();
        let open = self.open.lock();
        let kept = open.by_id.get(&id).filter(|kept| now.saturating_sub(kept.since) < FRESH);
        kept.map(|kept| kept.file.clone())
    }

    /// How often something ended: noted before a manifest is looked up, see [`ManifestCache::keep`].
    fn endings(&self) -> u64 {
        self.open.lock().endings
    }

    /// Keeps `file`, unless something has ended since `endings`: it may have been this file, which would
    /// serve on then.
    fn keep(&self, id: ManifestId, file: Arc<OpenFile>, endings: u64) {
        let now = self.clock.monotonic();
        let weight = file.weight();
        let mut open = self.open.lock();
        if open.endings != endings {
            return;
        }
        open.remove(id);
        if open.bytes + weight > MANIFEST_BYTES_MAX {
            open.retain(|kept| now.saturating_sub(kept.since) >= FRESH);
        }
        if open.bytes + weight > MANIFEST_BYTES_MAX {
            // Any will do: what is asked for again is opened again.
            let some: Vec<_> = open.by_id.keys().take(open.by_id.len() / 4 + 1).copied().collect();
            some.into_iter().for_each(|id| open.remove(id));
        }
        open.bytes += weight;
        open.by_id.insert(id, Kept { file, since: now });
    }

    /// Lets go of what may serve no longer.
    pub(super) fn expire(&self) {
        let now = self.clock.monotonic();
        self.open.lock().retain(|kept| now.saturating_sub(kept.since) >= FRESH);
    }

    pub(super) fn forget(&self, id: ManifestId) {
        let mut open = self.open.lock();
        open.endings += 1;
        open.remove(id);
    }
}
