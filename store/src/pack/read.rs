//! Reading a pack from its bytes alone, as a rebuild does.

use std::{borrow::Cow, collections::BTreeMap, ops::Range};

use super::{
    BatchIndex, FOOTER_END_BYTES, INDEX_MAGIC, PACK_HEADER_BYTES, PackHeader, footer_offset,
    frame::footer_indexes,
    index::{INDEX_HEADER_BYTES, chain_hash, decode_header, index_record_bytes},
};
use crate::{
    chunk::{CHUNK_HEADER_BYTES, CHUNK_MAGIC, ChunkHeader},
    ids::{PackId, WriterId},
    manifest::{HEAD_BYTES_MAX, MANIFEST_MAGIC, manifest_record_bytes},
    seal::{RecordError, VaultKey},
};

/// Bytes in which damage is searched for the next index.
const SEARCH_BYTES: usize = 1 << 20;

/// Bytes of a footer at most; a larger one is taken for none.
const FOOTER_BYTES_MAX: u64 = 128 << 20;

/// The bytes of a pack, read piece by piece.
pub trait PackBytes {
    /// How many there are.
    fn length(&self) -> u64;

    /// Those from `at`, at most `length`: fewer at the end, none where they can't be read.
    fn read(&self, at: u64, length: usize) -> Cow<'_, [u8]>;
}

impl PackBytes for &[u8] {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, at: u64, length: usize) -> Cow<'_, [u8]> {
        let start = usize::try_from(at).unwrap_or(usize::MAX).min(self.len());
        let end = start.saturating_add(length).min(self.len());
        Cow::Borrowed(&self[start..end])
    }
}

/// A batch whose index is authentic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadBatch {
    /// Its number in the pack.
    pub number: u32,
    /// What it holds.
    pub index: BatchIndex,
    /// What the writer's next index must name as its previous one.
    pub hash: [u8; 32],
}

/// How a pack ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PackEnd {
    /// By a footer that repeats every index.
    Closed,
    /// Behind an index: its writer stopped, or still writes.
    Open,
    /// By bytes that no authentic index covers: a batch that was not finished, or damage.
    Torn(Range<u64>),
}

/// What a pack holds, as far as authentic indexes say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PackContents {
    /// The pack's own header.
    pub header: PackHeader,
    /// The batches, by number.
    pub batches: Vec<ReadBatch>,
    /// How it ends.
    pub end: PackEnd,
    /// Stretches before the end that could not be walked: damage, even where a footer still tells
    /// what lay there.
    pub damaged: Vec<Range<u64>>,
    /// The stretch in which reads failed, if any: another reading may tell more than this one.
    pub unread: Option<Range<u64>>,
}

impl PackContents {
    /// Whether all that lies before the end was read and walked.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.damaged.is_empty() && self.unread.is_none()
    }
}

/// Reads the pack `bytes`. Trusts nothing that no authentic index covers; the records themselves
/// are not opened.
///
/// # Errors
/// Those of [`PackHeader::decode`]; damage further on is told in the result.
pub fn read_pack(bytes: &[u8], vk: &VaultKey) -> Result<PackContents, RecordError> {
    let header = PackHeader::decode(bytes)?;
    Ok(read_behind(header, Some(header.writer), &bytes, vk))
}

/// As [`read_pack`], when it is known from elsewhere (its file's name) which pack it is: a header
/// that was never finished, or is damaged, hides nothing then. Its writer is all zeros in the
/// result. Goes from record to record and holds the indexes only.
#[must_use]
pub fn read_pack_of(pack: PackId, bytes: &dyn PackBytes, vk: &VaultKey) -> PackContents {
    let header = PackHeader::decode(&bytes.read(0, PACK_HEADER_BYTES));
    if let Some(header) = header.ok().filter(|header| header.pack == pack) {
        return read_behind(header, Some(header.writer), bytes, vk);
    }
    let header = PackHeader { pack, writer: WriterId([0; 16]) };
    if bytes.length() <= PACK_HEADER_BYTES as u64 {
        let end = PackEnd::Torn(0..bytes.length());
        return PackContents {
            header,
            batches: Vec::new(),
            end,
            damaged: Vec::new(),
            unread: None,
        };
    }
    let mut contents = read_behind(header, None, bytes, vk);
    contents.damaged.insert(0, 0..PACK_HEADER_BYTES as u64);
    contents
}

fn read_behind(
    header: PackHeader,
    writer: Option<WriterId>,
    bytes: &dyn PackBytes,
    vk: &VaultKey,
) -> PackContents {
    let footer = find_footer(bytes);
    let end = footer.as_ref().map_or(bytes.length(), |(offset, _)| *offset);
    let mut walk = Walk { bytes, end, id: header.pack, writer, vk, batches: BTreeMap::new() };
    let (torn, mut damaged) = walk.run();
    let closed = footer.is_some();
    for record in footer.iter().flat_map(|(_, indexes)| indexes) {
        if let Ok((number, index)) = BatchIndex::open(record, header.pack, vk) {
            let hash = chain_hash(record);
            walk.batches.entry(number).or_insert(ReadBatch { number, index, hash });
        }
    }
    let end = match torn {
        Some(torn) if closed => {
            damaged.push(torn);
            PackEnd::Closed
        }
        Some(torn) => PackEnd::Torn(torn),
        None if closed => PackEnd::Closed,
        None => PackEnd::Open,
    };
    let batches = walk.batches.into_values().collect();
    PackContents { header, batches, end, damaged, unread: None }
}

/// The footer of a pack that has a sound one: where it begins, and the index records that it repeats.
fn find_footer(pack: &dyn PackBytes) -> Option<(u64, Vec<Vec<u8>>)> {
    let end = pack.length().checked_sub(FOOTER_END_BYTES as u64)?;
    let offset = footer_offset(pack.read(end, FOOTER_END_BYTES).first_chunk()?)?;
    let length = pack.length().checked_sub(offset).filter(|length| *length <= FOOTER_BYTES_MAX)?;
    let footer = pack.read(offset, usize::try_from(length).ok()?);
    let indexes = footer_indexes(&footer)?;
    Some((offset, indexes.into_iter().map(<[u8]>::to_vec).collect()))
}

/// Reads a closed pack from its header and its footer alone, as a start does; none when either is not
/// sound. Damage of the records between them is a scrub's to find.
#[must_use]
pub fn read_closed(header: &[u8], footer: &[u8], vk: &VaultKey) -> Option<PackContents> {
    let header = PackHeader::decode(header).ok()?;
    let mut batches = Vec::new();
    for record in footer_indexes(footer)? {
        let (number, index) = BatchIndex::open(record, header.pack, vk).ok()?;
        batches.push(ReadBatch { number, index, hash: chain_hash(record) });
    }
    let end = PackEnd::Closed;
    Some(PackContents { header, batches, end, damaged: Vec::new(), unread: None })
}

struct Walk<'a> {
    bytes: &'a dyn PackBytes,
    /// Where the records end: the footer, or the end of the pack.
    end: u64,
    id: PackId,
    writer: Option<WriterId>,
    vk: &'a VaultKey,
    batches: BTreeMap<u32, ReadBatch>,
}

impl<'a> Walk<'a> {
    /// Walks from record to record; where that fails, searches for the next authentic index. Gives
    /// what is not covered at the end, and what was skipped before.
    fn run(&mut self) -> (Option<Range<u64>>, Vec<Range<u64>>) {
        let mut damaged = Vec::new();
        let start = PACK_HEADER_BYTES as u64;
        let (mut batch_start, mut at) = (start, start);
        while at < self.end {
            if let Some(end) = self.index_at(at, Some(batch_start)) {
                (batch_start, at) = (end, end);
            } else if let Some(length) = self.record_at(at) {
                at += length;
            } else if let Some((resumed, end)) = self.search(at + 1) {
                damaged.push(batch_start..resumed);
                (batch_start, at) = (end, end);
            } else {
                return (Some(batch_start..self.end), damaged);
            }
        }
        ((batch_start < self.end).then_some(batch_start..self.end), damaged)
    }

    fn read(&self, at: u64, length: usize) -> Cow<'a, [u8]> {
        let left = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
        self.bytes.read(at, length.min(left))
    }

    /// Length of the chunk or manifest record at `at`, when its header is sound and it fits.
    fn record_at(&self, at: u64) -> Option<u64> {
        let front = self.read(at, CHUNK_HEADER_BYTES);
        let length = match *front.first_chunk()? {
            CHUNK_MAGIC => ChunkHeader::decode(&front).ok()?.record_bytes(),
            MANIFEST_MAGIC => manifest_record_bytes(&self.read(at, HEAD_BYTES_MAX)).ok()?,
            _ => return None,
        };
        Some(length).filter(|length| *length <= self.end - at)
    }

    /// Takes in the index record at `at`, when it is authentic and ends the batch that begins at
    /// `start` (or at any place, when the way there was damaged); gives its end.
    fn index_at(&mut self, at: u64, start: Option<u64>) -> Option<u64> {
        let header = self.read(at, INDEX_HEADER_BYTES);
        if !header.starts_with(&INDEX_MAGIC) {
            return None;
        }
        let bytes = index_record_bytes(decode_header(&header).ok()?.1);
        let record = self.read(at, bytes);
        let (number, index) = BatchIndex::open(&record, self.id, self.vk).ok()?;
        let last = self.batches.last_key_value().map(|(last, _)| *last);
        let placed = index.records_end() == at
            && start.is_none_or(|start| index.start == start)
            && last.is_none_or(|last| number > last)
            && self.writer.is_none_or(|writer| writer == index.writer);
        if !placed {
            return None;
        }
        self.batches.insert(number, ReadBatch { number, index, hash: chain_hash(&record) });
        Some(at + bytes as u64)
    }

    /// The next authentic index at or behind `from`: where its batch begins and where it ends.
    fn search(&mut self, from: u64) -> Option<(u64, u64)> {
        let mut at = from;
        while at < self.end {
            let window = self.read(at, SEARCH_BYTES + INDEX_MAGIC.len() - 1);
            let candidates = window.windows(INDEX_MAGIC.len()).enumerate();
            for (offset, _) in candidates.filter(|(_, four)| *four == INDEX_MAGIC) {
                if let Some(end) = self.index_at(at + offset as u64, None) {
                    let (_, batch) = self.batches.last_key_value()?;
                    return Some((batch.index.start, end));
                }
            }
            at += SEARCH_BYTES as u64;
        }
        None
    }
}
