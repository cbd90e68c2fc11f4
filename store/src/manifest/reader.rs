//! Reading a manifest: the front once, then only the frames that a range needs.

use std::{future::Future, ops::Range};

use bytes::Bytes;
use zeroize::Zeroizing;

use super::{
    ChunkSpan, ChunkSpans, EntryRun, ManifestHead, PartRun, Tail,
    body::{ENTRY_BYTES, ENTRY_RUN_BYTES, PART_RUN_BYTES, PRELUDE_BYTES, Prelude},
    spans::PartMap,
};
use crate::{
    Result,
    chunk::{ChunkId, ChunkRef, ChunkSize},
    seal::{ChunkRootKey, FRAME_BYTES, Frames, ItemKey, Reader, RecordError, SecretKey},
};

/// Most entries that one call may ask for.
const ENTRIES_AT_ONCE_MAX: u32 = 16 << 10;

/// An open manifest. Holds its front in memory and fetches the rest as it is asked for; what it
/// holds opens the file's chunks, so it must not outlive the freshness of its key.
///
/// Methods that read take `fetch`, which gives the stored bytes of a range of the record. Every
/// byte is authenticated before it is used. A future that is dropped has no effect.
#[derive(Debug)]
pub struct ManifestReader {
    head: ManifestHead,
    frames: Frames,
    prelude: Prelude,
    parts: Option<PartMap>,
    part_runs: Vec<PartRun>,
    entry_runs: Vec<EntryRun>,
    /// Plain bytes of the first frames.
    front: Zeroizing<Vec<u8>>,
}

impl ManifestReader {
    /// Opens the body of the record that begins with `head`.
    ///
    /// # Errors
    /// `Corrupt` when `key` is not the item's, or the front is damaged or malformed; those of
    /// `fetch`.
    pub async fn open<F, R>(head: ManifestHead, key: &ItemKey, fetch: F) -> Result<Self>
    where
        F: Fn(Range<u64>) -> R,
        R: Future<Output = Result<Bytes>>,
    {
        let frames = head.frames(key)?;
        let body_bytes = head.body_bytes();
        let mut front =
            read_frames(&head, &frames, 0..body_bytes.min(FRAME_BYTES as u32), &fetch).await?;
        let prelude = Prelude::decode(&mut Reader::new(&front), body_bytes)?;
        let runs_end =
            u32::try_from(prelude.data_offset()).map_err(|_| RecordError::Form("runs"))?;
        if runs_end as usize > front.len() {
            front = read_frames(&head, &frames, 0..runs_end, &fetch).await?;
        }
        let (part_runs, entry_runs) = decode_runs(&front, &prelude)?;
        let parts = prelude.chunk_size.map(|size| PartMap::new(size, &part_runs)).transpose()?;
        if let Some(parts) = &parts
            && (parts.length(), parts.entries()) != (prelude.length, prelude.entries)
        {
            return Err(RecordError::Form("lengths of parts").into());
        }
        Ok(Self { head, frames, prelude, parts, part_runs, entry_runs, front })
    }

    /// The head that this was opened with.
    #[must_use]
    pub fn head(&self) -> &ManifestHead {
        &self.head
    }

    /// Bytes of the file.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.prelude.length
    }

    /// The chunk size of the file's domain; none when the file lives in the manifest.
    #[must_use]
    pub fn chunk_size(&self) -> Option<ChunkSize> {
        self.prelude.chunk_size
    }

    /// Whether the file lives in the manifest: then [`ManifestReader::inline`] reads it.
    #[must_use]
    pub fn is_inline(&self) -> bool {
        self.prelude.chunk_size.is_none()
    }

    /// Whether all of the body is in memory, so that nothing is fetched any more.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.front.len() == self.head.body_bytes() as usize
    }

    /// Bytes of the body that are in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.front.len()
    }

    /// How many chunks the file has.
    #[must_use]
    pub fn entry_count(&self) -> u32 {
        self.prelude.entries
    }

    /// The parts of the file.
    #[must_use]
    pub fn part_runs(&self) -> &[PartRun] {
        &self.part_runs
    }

    /// Under which secrets the file's chunks were named.
    #[must_use]
    pub fn entry_runs(&self) -> &[EntryRun] {
        &self.entry_runs
    }

    /// The chunks that hold `range` of the file, in order; what lies beyond its length is left out.
    /// Empty for a file that lives in the manifest.
    #[must_use]
    pub fn spans(&self, range: Range<u64>) -> ChunkSpans<'_> {
        ChunkSpans { map: self.parts.as_ref(), range }
    }

    /// The first of [`ManifestReader::spans`].
    #[must_use]
    pub fn span_at(&self, range: Range<u64>) -> Option<ChunkSpan> {
        self.spans(range).next()
    }

    /// The entries `range` (at most 16,384).
    ///
    /// # Errors
    /// `Corrupt`, or those of `fetch`.
    ///
    /// # Panics
    /// When the range ends beyond the last entry or is too long.
    pub async fn entries<F, R>(&self, range: Range<u32>, fetch: F) -> Result<Vec<ChunkRef>>
    where
        F: Fn(Range<u64>) -> R,
        R: Future<Output = Result<Bytes>>,
    {
        let count = range.end.saturating_sub(range.start);
        assert!(range.end <= self.prelude.entries, "entries of this manifest");
        assert!(count <= ENTRIES_AT_ONCE_MAX, "entries are read in bounded pieces");
        if count == 0 {
            return Ok(Vec::new());
        }
        let offset =
            |entry: u32| self.prelude.data_offset() + u64::from(entry) * ENTRY_BYTES as u64;
        let bytes = self.body(offset(range.start)..offset(range.end), &fetch).await?;
        let entries = range.zip(bytes.chunks_exact(ENTRY_BYTES));
        Ok(entries
            .map(|(index, entry)| self.decode_entry(index, entry))
            .collect::<Result<_, _>>()?)
    }

    /// The bytes of a file that lives in the manifest.
    ///
    /// # Errors
    /// `Corrupt`, or those of `fetch`.
    ///
    /// # Panics
    /// When the file is made of chunks.
    pub async fn inline<F, R>(&self, fetch: F) -> Result<Bytes>
    where
        F: Fn(Range<u64>) -> R,
        R: Future<Output = Result<Bytes>>,
    {
        assert!(self.is_inline(), "the file lives in its manifest");
        let bytes =
            self.body(self.prelude.data_offset()..self.prelude.tail_offset(), &fetch).await?;
        Ok(Bytes::copy_from_slice(&bytes))
    }

    /// Digests, format facts and metadata. Reads the end of the body, and checks its padding.
    ///
    /// # Errors
    /// `Corrupt`, or those of `fetch`.
    pub async fn tail<F, R>(&self, fetch: F) -> Result<Tail>
    where
        F: Fn(Range<u64>) -> R,
        R: Future<Output = Result<Bytes>>,
    {
        let offset = self.prelude.tail_offset();
        let bytes = self.body(offset..u64::from(self.head.body_bytes()), &fetch).await?;
        let (tail, padding) = bytes.split_at(self.prelude.tail_bytes as usize);
        let (zeros, length) = padding.split_last_chunk().ok_or(RecordError::Length)?;
        if u64::from(u32::from_le_bytes(*length)) != self.prelude.content_bytes() {
            return Err(RecordError::Form("length of a body").into());
        }
        if zeros.iter().any(|byte| *byte != 0) {
            return Err(RecordError::Form("padding").into());
        }
        Ok(Tail::decode(tail)?)
    }

    fn decode_entry(&self, index: u32, entry: &[u8]) -> Result<ChunkRef, RecordError> {
        let mut fields = Reader::new(entry);
        let id = ChunkId(fields.array()?);
        let key = fields.take(32)?.try_into().expect("take gives the length asked for");
        let key = ChunkRootKey::from_bytes(key);
        let length = fields.u32()?;
        let parts = self.parts.as_ref().expect("a manifest with entries has parts");
        if length != parts.chunk_length(index) {
            return Err(RecordError::Form("length of an entry"));
        }
        let run = self.entry_runs.partition_point(|run| run.first <= index);
        let run = self.entry_runs[run - 1];
        let EntryRun { domain, epoch, naming, .. } = run;
        Ok(ChunkRef { domain, epoch, naming, id, key, length })
    }

    /// Plain bytes of `range` of the body.
    async fn body<F, R>(&self, range: Range<u64>, fetch: &F) -> Result<Zeroizing<Vec<u8>>>
    where
        F: Fn(Range<u64>) -> R,
        R: Future<Output = Result<Bytes>>,
    {
        let narrow = |at: u64| u32::try_from(at).expect("a body's length has 32 bits");
        let range = narrow(range.start)..narrow(range.end);
        let (start, end) = (range.start as usize, range.end as usize);
        if end <= self.front.len() {
            return Ok(Zeroizing::new(self.front[start..end].to_vec()));
        }
        let first = Frames::holding(&range).start as usize * FRAME_BYTES;
        let bytes = read_frames(&self.head, &self.frames, range, fetch).await?;
        Ok(Zeroizing::new(bytes[start - first..end - first].to_vec()))
    }
}

/// Plain bytes of all frames that hold `range`.
async fn read_frames<F, R>(
    head: &ManifestHead,
    frames: &Frames,
    range: Range<u32>,
    fetch: &F,
) -> Result<Zeroizing<Vec<u8>>>
where
    F: Fn(Range<u64>) -> R,
    R: Future<Output = Result<Bytes>>,
{
    if range.is_empty() {
        return Ok(Zeroizing::new(Vec::new()));
    }
    let holding = Frames::holding(&range);
    let sealed = fetch(head.in_record(&frames.sealed_range(&holding))).await?;
    Ok(Zeroizing::new(frames.open(holding.start, &sealed)?))
}

fn decode_runs(
    front: &[u8],
    prelude: &Prelude,
) -> Result<(Vec<PartRun>, Vec<EntryRun>), RecordError> {
    let runs_end = usize::try_from(prelude.data_offset()).map_err(|_| RecordError::Length)?;
    let runs = front.get(PRELUDE_BYTES..runs_end).ok_or(RecordError::Length)?;
    let (parts, entries) = runs.split_at(prelude.part_runs as usize * PART_RUN_BYTES);
    let parts =
        parts.chunks_exact(PART_RUN_BYTES).map(|run| PartRun::decode(&mut Reader::new(run)));
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    let entries =
        entries.chunks_exact(ENTRY_RUN_BYTES).map(|run| EntryRun::decode(&mut Reader::new(run)));
    let entries = entries.collect::<Result<Vec<_>, _>>()?;
    let begins = entries.first().is_none_or(|run| run.first == 0);
    let ascends = entries.is_sorted_by(|a, b| a.first < b.first && !a.continues(b));
    let within = entries.last().is_none_or(|run| run.first < prelude.entries);
    if begins && ascends && within { Ok((parts, entries)) } else { Err(RecordError::Form("runs")) }
}
