//! Reading a stretch of one chunk: frame by frame into a buffer that is used again.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;

use super::{
    Inner,
    buffers::{BUFFER_BYTES, with_frame},
    chunk_row,
    open_file::MOVES_MAX,
};
use crate::{
    Error, ErrorKind, Result,
    catalog::Row,
    chunk::{ChunkOpener, ChunkRef, ChunkRow, ChunkSize, FrameSpan},
    chunk_store::Extent,
    ids::PackId,
    seal::RecordError,
};

/// Plain bytes that are read and opened at once. Smaller pieces stay in the processor's cache until they
/// are sent, but cost a task each, which is more.
const PIECE_BYTES: u32 = BUFFER_BYTES as u32;

/// A chunk, and where it lies as far as this knows.
struct Place {
    entry: Arc<ChunkRef>,
    size: ChunkSize,
    opener: ChunkOpener,
    pack: PackId,
    /// Where in the pack the record begins.
    record: u64,
}

/// The plain bytes of a span, or why its stored ones don't open.
type Opened = std::result::Result<Bytes, RecordError>;

/// A stretch of one chunk, ready to be read. Cheap to clone.
#[derive(Clone)]
pub(super) struct Piece {
    place: Arc<Place>,
    range: Range<u32>,
}

impl Piece {
    /// The bytes `range` of the chunk that `entry` names and `row` places.
    ///
    /// # Errors
    /// `Corrupt` when there is no row, or it does not agree with the entry.
    pub(super) fn new(
        entry: ChunkRef,
        row: Option<Row>,
        size: ChunkSize,
        range: Range<u32>,
    ) -> Result<Self> {
        Ok(Self { place: Arc::new(Place::new(Arc::new(entry), row, size)?), range })
    }

    /// The same in pieces of at most [`PIECE_BYTES`], which end where frames do.
    pub(super) fn split(self) -> impl Iterator<Item = Self> {
        let mut next = self.range.start;
        (self.range.start / PIECE_BYTES + 1..).map_while(move |end| {
            let range = next..self.range.end.min(end * PIECE_BYTES);
            next = range.end;
            (!range.is_empty()).then(|| Self { place: self.place.clone(), range })
        })
    }

    /// Its plain bytes, from wherever compaction moved the chunk.
    ///
    /// # Errors
    /// `Corrupt`, `Unavailable`.
    pub(super) async fn read(self, inner: &Inner) -> Result<Bytes> {
        let Self { mut place, range } = self;
        for _ in 0..MOVES_MAX {
            let span = place.opener.span(range.clone());
            let opened = match place.open_now(inner, &span)? {
                Some(opened) => opened,
                None => match inner.chunks.read(place.extent(&span)).await {
                    Err(cause) if cause.kind() == ErrorKind::NotFound => {
                        let again = place.again(inner).await?;
                        // Rows move before their pack goes.
                        if (again.pack, again.record) == (place.pack, place.record) {
                            return Err(Error::corrupt(format!("pack {} is missing", place.pack)));
                        }
                        place = Arc::new(again);
                        continue;
                    }
                    sealed => place.opener.open(&span, &sealed?),
                },
            };
            return match opened {
                Ok(bytes) => Ok(bytes),
                Err(cause) => Err(place.quarantine(inner, cause).await?),
            };
        }
        Err(Error::new(ErrorKind::Unavailable, "a chunk that keeps moving"))
    }
}

impl Place {
    fn new(entry: Arc<ChunkRef>, row: Option<Row>, size: ChunkSize) -> Result<Self> {
        let row = row.ok_or_else(|| Error::corrupt(format!("chunk {} has no row", entry.id)))?;
        let row = ChunkRow::decode(&row.value)?;
        let opener = ChunkOpener::new(&entry, &row, size)?;
        Ok(Self { entry, size, opener, pack: row.pack, record: row.offset })
    }

    /// Where the chunk lies now.
    async fn again(&self, inner: &Inner) -> Result<Self> {
        let key = chunk_row(self.entry.domain, self.entry.id);
        let row = inner.catalog.read(&[key]).await?.into_iter().next().flatten();
        Self::new(self.entry.clone(), row, self.size)
    }

    fn extent(&self, span: &FrameSpan) -> Extent {
        Extent { pack: self.pack, offset: span.offset, length: span.length }
    }

    /// The plain bytes of `span`, or why they don't open; none when that has to wait for the disk.
    fn open_now(&self, inner: &Inner, span: &FrameSpan) -> Result<Option<Opened>> {
        let mut buffer = inner.buffers.take(span.payload_bytes());
        let mut opening = self.opener.opening(span, buffer.whole());
        let opened = with_frame(|frame| -> Result<Option<_>> {
            while let Some((offset, stored)) = opening.next_frame() {
                let sealed = &mut frame[..stored];
                if !inner.chunks.read_now(self.pack, offset, sealed)? {
                    return Ok(None);
                }
                if let Err(cause) = opening.push(sealed) {
                    return Ok(Some(Err(cause)));
                }
            }
            Ok(Some(opening.finish()))
        });
        Ok(opened?.map(|opened| opened.map(|range| buffer.show(range))))
    }

    /// Takes the record, which does not open, out of use; the error to answer.
    async fn quarantine(&self, inner: &Inner, cause: RecordError) -> Result<Error> {
        let (chunk, record) = ((self.entry.domain, self.entry.id), (self.pack, self.record));
        inner.quarantine_at(chunk, record).await?;
        Ok(Error::corrupt(format!("pack {} at {}", self.pack, self.record)).because(cause))
    }
}
