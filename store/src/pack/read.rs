//! Reading a pack from its bytes alone, as a rebuild does.

use std::{collections::BTreeMap, ops::Range};

use super::{
    BatchIndex, INDEX_MAGIC, PACK_HEADER_BYTES, PackHeader,
    frame::{find_footer, footer_indexes},
    index::{INDEX_HEADER_BYTES, chain_hash, decode_header, index_record_bytes},
};
use crate::{
    chunk::{CHUNK_MAGIC, ChunkHeader},
    ids::{PackId, WriterId},
    manifest::{MANIFEST_MAGIC, manifest_record_bytes},
    seal::{RecordError, VaultKey},
};

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
}

/// Reads the pack `bytes`. Trusts nothing that no authentic index covers; the records themselves
/// are not opened.
///
/// # Errors
/// Those of [`PackHeader::decode`]; damage further on is told in the result.
pub fn read_pack(bytes: &[u8], vk: &VaultKey) -> Result<PackContents, RecordError> {
    let header = PackHeader::decode(bytes)?;
    Ok(read_behind(header, Some(header.writer), bytes, vk))
}

/// As [`read_pack`], when it is known from elsewhere (its file's name) which pack it is: a header
/// that was never finished, or is damaged, hides nothing then. Its writer is all zeros in the
/// result.
#[must_use]
pub fn read_pack_of(pack: PackId, bytes: &[u8], vk: &VaultKey) -> PackContents {
    let header = PackHeader::decode(bytes).ok().filter(|header| header.pack == pack);
    if let Some(header) = header {
        return read_behind(header, Some(header.writer), bytes, vk);
    }
    let header = PackHeader { pack, writer: WriterId([0; 16]) };
    if bytes.len() <= PACK_HEADER_BYTES {
        let end = PackEnd::Torn(0..bytes.len() as u64);
        return PackContents { header, batches: Vec::new(), end, damaged: Vec::new() };
    }
    let mut contents = read_behind(header, None, bytes, vk);
    contents.damaged.insert(0, 0..PACK_HEADER_BYTES as u64);
    contents
}

fn read_behind(
    header: PackHeader,
    writer: Option<WriterId>,
    bytes: &[u8],
    vk: &VaultKey,
) -> PackContents {
    let footer = find_footer(bytes);
    let end = footer.as_ref().map_or(bytes.len(), |(offset, _)| *offset);
    let pack = &bytes[..end];
    let mut walk = Walk { pack, id: header.pack, writer, vk, batches: BTreeMap::new() };
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
    PackContents { header, batches: walk.batches.into_values().collect(), end, damaged }
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
    Some(PackContents { header, batches, end: PackEnd::Closed, damaged: Vec::new() })
}

struct Walk<'a> {
    pack: &'a [u8],
    id: PackId,
    writer: Option<WriterId>,
    vk: &'a VaultKey,
    batches: BTreeMap<u32, ReadBatch>,
}

impl Walk<'_> {
    /// Walks from record to record; where that fails, searches for the next authentic index. Gives
    /// what is not covered at the end, and what was skipped before.
    fn run(&mut self) -> (Option<Range<u64>>, Vec<Range<u64>>) {
        let mut damaged = Vec::new();
        let (mut batch_start, mut at) = (PACK_HEADER_BYTES, PACK_HEADER_BYTES);
        while at < self.pack.len() {
            if self.pack[at..].starts_with(&INDEX_MAGIC)
                && let Some(end) = self.index_at(at, Some(batch_start))
            {
                (batch_start, at) = (end, end);
            } else if let Some(length) = self.record_at(at) {
                at += length;
            } else if let Some((resumed, end)) = self.search(at + 1) {
                damaged.push(batch_start as u64..resumed);
                (batch_start, at) = (end, end);
            } else {
                return (Some(batch_start as u64..self.pack.len() as u64), damaged);
            }
        }
        let torn = batch_start < self.pack.len();
        (torn.then_some(batch_start as u64..self.pack.len() as u64), damaged)
    }

    /// Length of the chunk or manifest record at `at`, when its header is sound and it fits.
    fn record_at(&self, at: usize) -> Option<usize> {
        let rest = &self.pack[at..];
        let length = match *rest.first_chunk()? {
            CHUNK_MAGIC => ChunkHeader::decode(rest).ok()?.record_bytes(),
            MANIFEST_MAGIC => manifest_record_bytes(rest).ok()?,
            _ => return None,
        };
        usize::try_from(length).ok().filter(|length| *length <= rest.len())
    }

    /// Takes in the index record at `at`, when it is authentic and ends the batch that begins at
    /// `start` (or at any place, when the way there was damaged); gives its end.
    fn index_at(&mut self, at: usize, start: Option<usize>) -> Option<usize> {
        let (_, length) = decode_header(&self.pack[at..]).ok()?;
        let end = at.checked_add(index_record_bytes(length))?;
        let record = self.pack.get(at..end)?;
        let (number, index) = BatchIndex::open(record, self.id, self.vk).ok()?;
        let last = self.batches.last_key_value().map(|(last, _)| *last);
        let placed = index.records_end() == at as u64
            && start.is_none_or(|start| index.start == start as u64)
            && last.is_none_or(|last| number > last)
            && self.writer.is_none_or(|writer| writer == index.writer);
        if !placed {
            return None;
        }
        self.batches.insert(number, ReadBatch { number, index, hash: chain_hash(record) });
        Some(end)
    }

    /// The next authentic index at or behind `from`: where its batch begins and where it ends.
    fn search(&mut self, from: usize) -> Option<(u64, usize)> {
        let last = self.pack.len().checked_sub(INDEX_HEADER_BYTES)?;
        let end = (from..=last).find_map(|at| {
            let candidate = self.pack[at..].starts_with(&INDEX_MAGIC);
            if candidate { self.index_at(at, None) } else { None }
        })?;
        let (_, batch) = self.batches.last_key_value()?;
        Some((batch.index.start, end))
    }
}
