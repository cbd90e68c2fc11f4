//! Opening chunks: the only way from stored bytes to plain ones.

use std::{fmt, ops::Range};

use bytes::Bytes;

use super::{
    CHUNK_HEADER_BYTES, ChunkHeader, ChunkRef, ChunkRow, ChunkSize, DomainKeys, Fullness, Naming,
    PlainChunk, TRAILER_BYTES,
    seal::{commitment, frames},
};
use crate::seal::{FRAME_BYTES, Frames, RecordError, SEALED_FRAME_BYTES, TAG_BYTES, same};

/// The frames that one range of a chunk needs, and where they lie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FrameSpan {
    /// Where in the pack the frames begin.
    pub offset: u64,
    /// Their stored bytes.
    pub length: u32,
    frames: Range<u32>,
    range: Range<u32>,
}

impl FrameSpan {
    /// Plain bytes of its frames: those of its range, and what else its first and last frame hold.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.length as usize - self.frames.len() * TAG_BYTES
    }
}

/// A span whose frames are opened one after another, so that they can be read one by one. Only
/// [`SpanOpening::finish`] says which bytes may be used.
pub struct SpanOpening<'a> {
    opener: &'a ChunkOpener,
    span: &'a FrameSpan,
    payload: &'a mut [u8],
    next: u32,
}

impl SpanOpening<'_> {
    /// Where in the pack the next frame lies, and its stored bytes; none when all are open.
    #[must_use]
    pub fn next_frame(&self) -> Option<(u64, usize)> {
        let at = self.done() * SEALED_FRAME_BYTES;
        let left = (self.span.length as usize).checked_sub(at).filter(|left| *left > 0)?;
        Some((self.span.offset + at as u64, left.min(SEALED_FRAME_BYTES)))
    }

    /// Opens the next frame.
    ///
    /// # Errors
    /// `Length` when it is of another length or no frame is left; `Authentication`.
    pub fn push(&mut self, sealed: &[u8]) -> Result<(), RecordError> {
        let (_, stored) = self.next_frame().ok_or(RecordError::Length)?;
        let at = self.done() * FRAME_BYTES;
        let plain = &mut self.payload[at..at + stored - TAG_BYTES];
        self.opener.frames.open_one(self.next, sealed, plain)?;
        self.next += 1;
        Ok(())
    }

    /// Where in the buffer the plain bytes of the span's range lie, once all frames are open.
    ///
    /// # Errors
    /// `Length` when frames are missing; `Form` as [`ChunkOpener::open`].
    pub fn finish(self) -> Result<Range<usize>, RecordError> {
        let Self { opener, span, payload, next } = self;
        if next != span.frames.end {
            return Err(RecordError::Length);
        }
        let first = span.frames.start * FRAME_BYTES as u32;
        if next == Frames::count_of(opener.payload_bytes) {
            opener.check_ending(payload, first)?;
        }
        Ok((span.range.start - first) as usize..(span.range.end - first) as usize)
    }

    /// Frames that are open.
    fn done(&self) -> usize {
        (self.next - self.span.frames.start) as usize
    }
}

impl fmt::Debug for SpanOpening<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpanOpening({} of {:?})", self.next, self.span.frames)
    }
}

/// Opens ranges of one chunk whose row and manifest entry agree.
#[derive(Debug)]
pub struct ChunkOpener {
    frames: Frames,
    frames_offset: u64,
    plain_bytes: u32,
    payload_bytes: u32,
    fullness: Fullness,
}

impl ChunkOpener {
    /// Compares the row's commitment with the one of the entry's key and its lengths with the
    /// entry's: before this succeeds, nothing is read and nothing allocated.
    ///
    /// # Errors
    /// `Authentication` when the row is of a record sealed under another key; `Form` when lengths
    /// differ.
    pub fn new(entry: &ChunkRef, row: &ChunkRow, size: ChunkSize) -> Result<Self, RecordError> {
        let header = row.header(entry.id);
        check_lengths(&header, entry.length, size)?;
        if !same(&commitment(&entry.key), &header.commitment) {
            return Err(RecordError::Authentication);
        }
        Ok(Self {
            frames: frames(&header, &entry.key),
            frames_offset: row
                .offset
                .checked_add(CHUNK_HEADER_BYTES as u64)
                .ok_or(RecordError::Form("offset"))?,
            plain_bytes: entry.length,
            payload_bytes: header.payload_bytes,
            fullness: header.fullness,
        })
    }

    /// What must be read to open the plain bytes `range` of the chunk.
    ///
    /// # Panics
    /// When the range is empty or ends beyond the chunk.
    #[must_use]
    pub fn span(&self, range: Range<u32>) -> FrameSpan {
        assert!(range.start < range.end && range.end <= self.plain_bytes, "range of this chunk");
        let frames = Frames::holding(&range);
        let stored = self.frames.sealed_range(&frames);
        let length = u32::try_from(stored.end - stored.start).expect("a record is a few MiB");
        FrameSpan { offset: self.frames_offset + stored.start, length, frames, range }
    }

    /// Opens the stored bytes of `span`: exactly the plain bytes of its range.
    ///
    /// # Errors
    /// `Length` or `Authentication`; `Form` when the payload's last frame is among them and its
    /// padding is not zero or its trailer not the entry's.
    pub fn open(&self, span: &FrameSpan, sealed: &[u8]) -> Result<Bytes, RecordError> {
        if sealed.len() != span.length as usize {
            return Err(RecordError::Length);
        }
        let mut payload = vec![0; span.payload_bytes()];
        let mut opening = self.opening(span, &mut payload);
        sealed.chunks(SEALED_FRAME_BYTES).try_for_each(|frame| opening.push(frame))?;
        let range = opening.finish()?;
        Ok(Bytes::from(payload).slice(range))
    }

    /// Opens `span` frame by frame into the front of `payload`.
    ///
    /// # Panics
    /// When `payload` is shorter than [`FrameSpan::payload_bytes`].
    #[must_use]
    pub fn opening<'a>(&'a self, span: &'a FrameSpan, payload: &'a mut [u8]) -> SpanOpening<'a> {
        let payload = &mut payload[..span.payload_bytes()];
        SpanOpening { opener: self, span, payload, next: span.frames.start }
    }

    /// Checks padding and trailer in the last frames of the payload, which begin at byte `first` of
    /// it.
    fn check_ending(&self, payload: &[u8], first: u32) -> Result<(), RecordError> {
        if self.fullness == Fullness::Full {
            return Ok(());
        }
        // A payload longer than a frame is a multiple of 2 KiB, so its trailer lies in one frame.
        let mut trailer = [0; TRAILER_BYTES];
        trailer[..4].copy_from_slice(&self.plain_bytes.to_le_bytes());
        trailer[4..].copy_from_slice(&self.plain_bytes.to_le_bytes());
        let (before, found) =
            payload.split_last_chunk::<TRAILER_BYTES>().ok_or(RecordError::Form("trailer"))?;
        if *found != trailer {
            return Err(RecordError::Form("trailer"));
        }
        let padding = self.plain_bytes.saturating_sub(first) as usize;
        let zero = before.get(padding..).unwrap_or_default().iter().all(|byte| *byte == 0);
        if zero { Ok(()) } else { Err(RecordError::Form("padding")) }
    }
}

/// Checks the checksums of a chunk record: all that a scrub without keys can do.
///
/// # Errors
/// As [`ChunkHeader::decode`]; `Length`; `Checksum`.
pub fn check_record(record: &[u8]) -> Result<ChunkHeader, RecordError> {
    let header = ChunkHeader::decode(record)?;
    if header.record_bytes() != record.len() as u64 {
        return Err(RecordError::Length);
    }
    let (body, sum) = record.split_at(record.len() - 4);
    if sum == crc32c::crc32c(body).to_le_bytes() { Ok(header) } else { Err(RecordError::Checksum) }
}

/// Opens a whole record and computes its name again: for exports, the keyed scrub and rebuilds.
///
/// # Errors
/// As [`check_record`] and [`ChunkOpener::open`]; `Authentication` when the content is not that
/// which the name says (chunks named at random have no such check), or `keys` are not of the
/// entry's epoch.
pub fn open_record(
    record: &[u8],
    entry: &ChunkRef,
    size: ChunkSize,
    keys: &DomainKeys,
) -> Result<PlainChunk, RecordError> {
    let header = check_record(record)?;
    if header.id != entry.id {
        return Err(RecordError::Authentication);
    }
    let row = ChunkRow::new(&header, crate::ids::PackId([0; 16]), 0, 0);
    let opener = ChunkOpener::new(entry, &row, size)?;
    let sealed = &record[CHUNK_HEADER_BYTES..record.len() - 4];
    let payload = opener.frames.open(0, sealed)?;
    opener.check_ending(&payload, 0)?;
    let chunk = PlainChunk::new(Bytes::from(payload).slice(..entry.length as usize));
    if entry.naming == Naming::Keyed {
        let same_keys = keys.domain() == entry.domain && keys.epoch() == entry.epoch;
        let identity = keys.identify(&chunk);
        let same_key = same(
            crate::seal::SecretKey::expose(&identity.key),
            crate::seal::SecretKey::expose(&entry.key),
        );
        if !same_keys || identity.id() != entry.id || !same_key {
            return Err(RecordError::Authentication);
        }
    }
    Ok(chunk)
}

/// A header's lengths must be those that the sealer makes of `plain_bytes`.
fn check_lengths(
    header: &ChunkHeader,
    plain_bytes: u32,
    size: ChunkSize,
) -> Result<(), RecordError> {
    let in_bounds = (1..=size.bytes()).contains(&plain_bytes);
    let expected = match header.fullness {
        Fullness::Full => size.bytes(),
        Fullness::Padded if in_bounds => size.payload_bytes(plain_bytes),
        Fullness::Padded => 0,
    };
    let full = header.fullness == Fullness::Full;
    if !in_bounds || header.payload_bytes != expected || full != (plain_bytes == size.bytes()) {
        return Err(RecordError::Form("length of a chunk"));
    }
    Ok(())
}
