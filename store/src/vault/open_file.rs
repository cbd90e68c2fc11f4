//! Open manifests, kept for a while.

use std::{collections::HashMap, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use readvault_ambient::Clock;

use super::{FileRef, Inner, manifest_row};
use crate::{
    Error, ErrorKind, Result,
    chunk_store::{ChunkStore, Extent},
    ids::ManifestId,
    manifest::{ManifestHead, ManifestReader, ManifestRow},
};

/// A manifest record of at most so many bytes is read at once and kept whole.
const RECORD_WHOLE_MAX: u32 = 160 << 10;

/// Bytes of open manifests that are kept.
const MANIFEST_BYTES_MAX: usize = 32 << 20;

/// Bytes that an open manifest takes beside those of its record.
const MANIFEST_EXTRA_BYTES: usize = 1 << 10;

/// Time for which an open manifest serves: as long as one use of its key keeps that fresh.
const FRESH: Duration = Duration::from_secs(40);

/// One open file: its manifest, and how to fetch more of it.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) manifest: ManifestReader,
    row: ManifestRow,
    record: Option<Bytes>,
}

impl OpenFile {
    /// Bytes of memory that this takes, about.
    fn weight(&self) -> usize {
        // A record that is not kept whole still has the first frames of its body in memory.
        self.record.as_ref().map_or(RECORD_WHOLE_MAX as usize, |record| 2 * record.len())
            + MANIFEST_EXTRA_BYTES
    }

    /// The stored bytes `range` of the manifest's record.
    pub(super) async fn fetch(&self, chunks: &dyn ChunkStore, range: Range<u64>) -> Result<Bytes> {
        fetch(chunks, self.row, self.record.as_ref(), range).await
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
        let row = manifest_row(file.manifest);
        let found = self.catalog.read(&[row]).await?.into_iter().next().flatten();
        let found = found.ok_or_else(|| Error::new(ErrorKind::NotFound, "manifest"))?;
        let row = ManifestRow::decode(&found.value)?;
        let whole = row.length <= RECORD_WHOLE_MAX;
        let length = if whole { row.length } else { row.head_bytes };
        let bytes = self.chunks.read(Extent { pack: row.pack, offset: row.offset, length }).await?;
        let head = ManifestHead::open(&bytes, self.keys.vault_key())?;
        if head.manifest() != file.manifest {
            return Err(Error::corrupt("the record of another manifest"));
        }
        let key = self.keys.item_key_of(head.id(), head.key()).await?;
        let record = whole.then_some(bytes);
        let chunks = &*self.chunks;
        let manifest =
            ManifestReader::open(head, &key, |range| fetch(chunks, row, record.as_ref(), range))
                .await?;
        let open = Arc::new(OpenFile { manifest, row, record });
        self.manifests.keep(file.manifest, open.clone());
        Ok(open)
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

    fn get(&self, id: ManifestId) -> Option<Arc<OpenFile>> {
        let now = self.clock.monotonic();
        let open = self.open.lock();
        let kept = open.by_id.get(&id).filter(|kept| now - kept.since < FRESH);
        kept.map(|kept| kept.file.clone())
    }

    fn keep(&self, id: ManifestId, file: Arc<OpenFile>) {
        let now = self.clock.monotonic();
        let weight = file.weight();
        let mut open = self.open.lock();
        open.remove(id);
        if open.bytes + weight > MANIFEST_BYTES_MAX {
            open.retain(|kept| now - kept.since >= FRESH);
        }
        if open.bytes + weight > MANIFEST_BYTES_MAX {
            // Any will do: what is asked for again is opened again.
            let some: Vec<_> = open.by_id.keys().take(open.by_id.len() / 4 + 1).copied().collect();
            some.into_iter().for_each(|id| open.remove(id));
        }
        open.bytes += weight;
        open.by_id.insert(id, Kept { file, since: now });
    }

    pub(super) fn forget(&self, id: ManifestId) {
        self.open.lock().remove(id);
    }
}
