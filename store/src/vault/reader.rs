//! Reading ranges of a file: plan → extents → open, in order, with bounded read-ahead.

use std::{ops::Range, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};

use super::{Inner, chunk_row, open_file::OpenFile, piece::Piece};
use crate::{Error, ErrorKind, Result, chunk::ChunkRef, manifest::ChunkSpan};

/// Pieces of one stream that are read and opened ahead of the one that is being sent.
const READ_AHEAD: usize = 3;

/// Chunks whose entries and rows are looked up at once.
const PLAN_CHUNKS: usize = 64;

/// A reader of one file; cheap to clone. Serves as long as the file's key is fresh; what is opened anew
/// after that asks for the key again.
#[derive(Clone, Debug)]
pub struct FileReader {
    inner: Arc<Inner>,
    open: Arc<OpenFile>,
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
    /// Every byte given has been authenticated; damage ends the stream with `Corrupt`, a deletion with
    /// `NotFound`, if at all.
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
        let opener = self.clone();
        stream::iter(plans)
            .then(move |spans| {
                let reader = reader.clone();
                async move { reader.told(reader.plan(&spans).await).await }
            })
            .map_ok(|pieces| {
                stream::iter(pieces.into_iter().flat_map(Piece::split).map(Ok::<_, Error>))
            })
            .try_flatten()
            .map(move |piece| {
                let reader = opener.clone();
                async move { reader.told(spawned(reader.inner.clone(), piece?).await).await }
            })
            .buffered(READ_AHEAD)
            .boxed()
    }

    /// The bytes of `range` in one piece: for ranges of at most a few MiB. What lies beyond the length is
    /// left out.
    ///
    /// # Errors
    /// `NotFound` when the file was deleted meanwhile; `Corrupt`, `KeyUnavailable`, `Unavailable`.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        self.told(self.read_now(range).await).await
    }

    async fn read_now(&self, range: Range<u64>) -> Result<Bytes> {
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
            return one.read(&self.inner).await;
        }
        let pieces = stream::iter(planned)
            .map(|piece| spawned(self.inner.clone(), piece))
            .buffered(READ_AHEAD)
            .try_collect::<Vec<_>>()
            .await?;
        let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
        pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
        Ok(whole.freeze())
    }

    /// What became of a read: of a file that was deleted meanwhile the bytes may be gone, which is no damage.
    async fn told<T>(&self, read: Result<T>) -> Result<T> {
        match read {
            Err(cause) if cause.kind() == ErrorKind::Corrupt => {
                match self.open.still_named(&self.inner).await {
                    Err(gone) if gone.kind() == ErrorKind::NotFound => Err(gone),
                    _ => Err(cause),
                }
            }
            read => read,
        }
    }

    async fn inline(&self, range: Range<u64>) -> Result<Bytes> {
        let bytes = self.open.inline(&self.inner).await?;
        let narrow = |at: u64| usize::try_from(at).expect("an inline file is small");
        Ok(bytes.slice(narrow(range.start)..narrow(range.end)))
    }

    /// Looks entries and rows of `spans` up, and checks that they agree.
    async fn plan(&self, spans: &[ChunkSpan]) -> Result<Vec<Piece>> {
        let (Some(first), Some(last)) = (spans.first(), spans.last()) else {
            return Ok(Vec::new());
        };
        let entries = self.entries(first.entry..last.entry + 1).await?;
        let rows: Vec<_> = entries.iter().map(|entry| chunk_row(entry.domain, entry.id)).collect();
        let rows = self.inner.catalog.read(&rows).await?;
        let size = self.open.manifest.chunk_size().ok_or_else(|| Error::corrupt("chunk size"))?;
        let pieces = spans.iter().zip(entries).zip(rows);
        pieces
            .map(|((span, entry), row)| Piece::new(entry, row, size, span.range.clone()))
            .collect()
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

/// Reads and opens a piece in a task of its own, so that several are on their way at once.
async fn spawned(inner: Arc<Inner>, piece: Piece) -> Result<Bytes> {
    let task = tokio::spawn(async move { piece.read(&inner).await });
    let joined = task.await;
    joined.map_err(|cause| Error::new(ErrorKind::Internal, "read task").because(cause))?
}
