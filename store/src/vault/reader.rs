//! Reading ranges of a file: plan → extents → open, in order, with bounded read-ahead.

use std::{ops::Range, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};

use super::{
    Inner, chunk_row,
    open_file::{MOVES_MAX, OpenFile},
    stage::blocking,
};
use crate::{
    Error, ErrorKind, Result,
    catalog::Row,
    chunk::{ChunkOpener, ChunkRef, ChunkRow, ChunkSize, FrameSpan},
    chunk_store::Extent,
    manifest::ChunkSpan,
};

/// Chunks of one stream that are read and opened ahead of the one that is being sent.
const READ_AHEAD: usize = 3;

/// Chunks whose entries and rows are looked up at once.
const PLAN_CHUNKS: usize = 64;

/// Stored bytes up to which opening is cheaper than a change of thread.
const OPEN_HERE_MAX: u32 = 2 << 20;

/// A reader of one file; cheap to clone. Serves as long as the file's key is fresh; what is opened anew
/// after that asks for the key again.
#[derive(Clone, Debug)]
pub struct FileReader {
    inner: Arc<Inner>,
    open: Arc<OpenFile>,
}

/// One chunk of a plan, ready to be read.
struct Planned {
    opener: ChunkOpener,
    span: FrameSpan,
    extent: Extent,
    /// Where the record begins.
    record: u64,
    place: Place,
}

/// Which chunk it is, and what of it is wanted: to look its row up again when compaction moved it.
struct Place {
    entry: Arc<ChunkRef>,
    range: Range<u32>,
    size: ChunkSize,
}

impl FileReader {
    pub(super) fn new(inner: Arc<Inner>, open: Arc<OpenFile>) -> Self {
        Self { inner, open }
    }

    /// Length in bytes of plaintext.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.open.manifest.length()
    }

    /// The bytes of `range`, in order, with bounded read-ahead; what lies beyond the length is left out.
    /// Every byte given has been authenticated; damage ends the stream with `Corrupt`.
    #[must_use]
    pub fn stream(&self, range: Range<u64>) -> BoxStream<'static, Result<Bytes>> {
        let reader = self.clone();
        let range = range.start..range.end.min(self.length());
        if range.start >= range.end {
            return stream::empty().boxed();
        }
        if self.open.manifest.is_inline() {
            return stream::once(async move { reader.inline(range).await }).boxed();
        }
        let spans: Vec<_> = reader.open.manifest.spans(range).collect();
        let plans = spans.chunks(PLAN_CHUNKS).map(<[_]>::to_vec).collect::<Vec<_>>();
        let inner = self.inner.clone();
        stream::iter(plans)
            .then(move |spans| {
                let reader = reader.clone();
                async move { reader.plan(&spans).await }
            })
            .map_ok(|planned| stream::iter(planned.into_iter().map(Ok::<_, Error>)))
            .try_flatten()
            .map(move |planned| {
                let inner = inner.clone();
                async move { spawned(inner, planned?).await }
            })
            .buffered(READ_AHEAD)
            .boxed()
    }

    /// The bytes of `range` in one piece: for ranges of at most a few MiB. What lies beyond the length is
    /// left out.
    ///
    /// # Errors
    /// `Corrupt`, `KeyUnavailable`, `Unavailable`.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let range = range.start..range.end.min(self.length());
        if range.start >= range.end {
            return Ok(Bytes::new());
        }
        if self.open.manifest.is_inline() {
            return self.inline(range).await;
        }
        let spans: Vec<_> = self.open.manifest.spans(range).collect();
        let mut planned = self.plan(&spans).await?;
        if planned.len() == 1
            && let Some(one) = planned.pop()
        {
            return read_chunk(&self.inner, one).await;
        }
        let pieces = stream::iter(planned)
            .map(|planned| spawned(self.inner.clone(), planned))
            .buffered(READ_AHEAD)
            .try_collect::<Vec<_>>()
            .await?;
        let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
        pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
        Ok(whole.freeze())
    }

    async fn inline(&self, range: Range<u64>) -> Result<Bytes> {
        let fetch = |stored| self.open.fetch(&self.inner, stored);
        let bytes = self.open.manifest.inline(fetch).await?;
        let narrow = |at: u64| usize::try_from(at).expect("an inline file is small");
        Ok(bytes.slice(narrow(range.start)..narrow(range.end)))
    }

    /// Looks entries and rows of `spans` up, and checks that they agree.
    async fn plan(&self, spans: &[ChunkSpan]) -> Result<Vec<Planned>> {
        let (Some(first), Some(last)) = (spans.first(), spans.last()) else {
            return Ok(Vec::new());
        };
        let entries = self.entries(first.entry..last.entry + 1).await?;
        let rows: Vec<_> = entries.iter().map(|entry| chunk_row(entry.domain, entry.id)).collect();
        let rows = self.inner.catalog.read(&rows).await?;
        let size = self.open.manifest.chunk_size().ok_or_else(|| Error::corrupt("chunk size"))?;
        let places = spans.iter().zip(entries).map(|(span, entry)| Place {
            entry: Arc::new(entry),
            range: span.range.clone(),
            size,
        });
        places.zip(rows).map(|(place, row)| planned(place, row)).collect()
    }

    /// The entries `range` of the manifest.
    pub(super) async fn entries(&self, range: Range<u32>) -> Result<Vec<ChunkRef>> {
        self.open.entries(&self.inner, range).await
    }

    /// The open manifest.
    pub(super) fn manifest(&self) -> &crate::manifest::ManifestReader {
        &self.open.manifest
    }
}

/// A chunk that is ready to be read, by its row.
fn planned(place: Place, row: Option<Row>) -> Result<Planned> {
    let entry = &place.entry;
    let row = row.ok_or_else(|| Error::corrupt(format!("chunk {} has no row", entry.id)))?;
    let row = ChunkRow::decode(&row.value)?;
    let opener = ChunkOpener::new(entry, &row, place.size)?;
    let span = opener.span(place.range.clone());
    let extent = Extent { pack: row.pack, offset: span.offset, length: span.length };
    Ok(Planned { opener, span, extent, record: row.offset, place })
}

/// Reads and opens a chunk in a task of its own, so that several are on their way at once.
async fn spawned(inner: Arc<Inner>, planned: Planned) -> Result<Bytes> {
    let task = tokio::spawn(async move { read_chunk(&inner, planned).await });
    let joined = task.await;
    joined.map_err(|cause| Error::new(ErrorKind::Internal, "read task").because(cause))?
}

/// The stored bytes of a chunk, from wherever compaction moved it.
async fn sealed_bytes(inner: &Inner, mut plan: Planned) -> Result<(Planned, Bytes)> {
    for _ in 0..MOVES_MAX {
        match inner.chunks.read(plan.extent).await {
            Err(cause) if cause.kind() == ErrorKind::NotFound => {
                let key = chunk_row(plan.place.entry.domain, plan.place.entry.id);
                let row = inner.catalog.read(&[key]).await?.into_iter().next().flatten();
                plan = planned(plan.place, row)?;
            }
            sealed => return Ok((plan, sealed?)),
        }
    }
    Err(Error::new(ErrorKind::Unavailable, "a chunk that keeps moving"))
}

async fn read_chunk(inner: &Inner, planned: Planned) -> Result<Bytes> {
    let (planned, sealed) = sealed_bytes(inner, planned).await?;
    let Planned { opener, span, extent, record, place } = planned;
    let opened = if extent.length <= OPEN_HERE_MAX {
        opener.open(&span, &sealed)
    } else {
        blocking(move || opener.open(&span, &sealed)).await?
    };
    match opened {
        Ok(bytes) => Ok(bytes),
        Err(cause) => {
            let entry = &place.entry;
            inner.quarantine_at((entry.domain, entry.id), (extent.pack, record)).await?;
            Err(Error::corrupt(format!("pack {} at {record}", extent.pack)).because(cause))
        }
    }
}
