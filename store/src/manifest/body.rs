//! The front of a manifest's body: prelude, part runs, entry runs (`docs/format.md` §4.2).

use crate::{
    chunk::{ChunkSize, Naming},
    ids::DomainId,
    seal::{Reader, RecordError, padded_length},
};

/// Bytes of one entry: CID, CKR, u32 plain length.
pub const ENTRY_BYTES: usize = 32 + 32 + 4;

/// Most bytes of a file that lives inside its manifest.
pub const INLINE_BYTES_MAX: u64 = 64 << 10;

/// Most part runs of one manifest.
pub const PART_RUNS_MAX: usize = 10_000;

/// Most entry runs of one manifest.
pub(super) const ENTRY_RUNS_MAX: usize = 10_000;

/// Most entries of one manifest: 8 TiB in chunks of 1 MiB.
pub(super) const ENTRIES_MAX: u32 = 8 << 20;

/// Most bytes of the tail.
pub(super) const TAIL_BYTES_MAX: u32 = 256 << 10;

/// Smallest padded body.
pub(super) const BODY_BYTES_MIN: u64 = 1 << 10;

pub(super) const PRELUDE_BYTES: usize = 2 + 1 + 4 + 8 + 4 * 4;
pub(super) const PART_RUN_BYTES: usize = 4 + 8;
pub(super) const ENTRY_RUN_BYTES: usize = 4 + 16 + 4 + 1;

const REPRESENTATION_PLAIN: u16 = 0;
const LAYOUT_INLINE: u8 = 0;
const LAYOUT_CHUNKS: u8 = 1;

/// What a body begins with: from it follow all section offsets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prelude {
    /// The chunk size of the file's domain; none when the file lives in the manifest.
    pub chunk_size: Option<ChunkSize>,
    /// Bytes of the file.
    pub length: u64,
    pub(super) part_runs: u32,
    pub(super) entry_runs: u32,
    pub(super) entries: u32,
    pub(super) tail_bytes: u32,
}

impl Prelude {
    pub(super) fn encode(&self) -> Vec<u8> {
        let layout = if self.chunk_size.is_some() { LAYOUT_CHUNKS } else { LAYOUT_INLINE };
        let size = self.chunk_size.map_or(0, ChunkSize::bytes);
        let mut out = Vec::with_capacity(PRELUDE_BYTES);
        out.extend_from_slice(&REPRESENTATION_PLAIN.to_le_bytes());
        out.push(layout);
        out.extend_from_slice(&size.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        for count in [self.part_runs, self.entry_runs, self.entries, self.tail_bytes] {
            out.extend_from_slice(&count.to_le_bytes());
        }
        out
    }

    /// Reads the prelude of a body of `body_bytes` and checks that its sections fill exactly such a
    /// body.
    pub(super) fn decode(fields: &mut Reader<'_>, body_bytes: u32) -> Result<Self, RecordError> {
        let (representation, layout) = (fields.u16()?, fields.u8()?);
        let (size, length) = (fields.u32()?, fields.u64()?);
        let (part_runs, entry_runs) = (fields.u32()?, fields.u32()?);
        let (entries, tail_bytes) = (fields.u32()?, fields.u32()?);
        if representation != REPRESENTATION_PLAIN || layout > LAYOUT_CHUNKS {
            return Err(RecordError::Unsupported);
        }
        let inline = layout == LAYOUT_INLINE;
        let chunk_size = if inline { None } else { Some(ChunkSize::new(size)?) };
        let in_bounds = part_runs as usize <= PART_RUNS_MAX
            && entry_runs as usize <= ENTRY_RUNS_MAX
            && entries <= ENTRIES_MAX
            && tail_bytes <= TAIL_BYTES_MAX;
        let counts_fit = if inline {
            length <= INLINE_BYTES_MAX && [size, part_runs, entry_runs, entries] == [0; 4]
        } else {
            part_runs > 0 && (entry_runs == 0) == (entries == 0)
        };
        let prelude = Self { chunk_size, length, part_runs, entry_runs, entries, tail_bytes };
        if !in_bounds || !counts_fit || prelude.body_bytes() != u64::from(body_bytes) {
            return Err(RecordError::Form("prelude"));
        }
        Ok(prelude)
    }

    /// Where the entries, or the file's own bytes, begin: after the runs.
    pub(super) fn data_offset(&self) -> u64 {
        PRELUDE_BYTES as u64
            + u64::from(self.part_runs) * PART_RUN_BYTES as u64
            + u64::from(self.entry_runs) * ENTRY_RUN_BYTES as u64
    }

    pub(super) fn tail_offset(&self) -> u64 {
        let inline = if self.chunk_size.is_none() { self.length } else { 0 };
        self.data_offset() + u64::from(self.entries) * ENTRY_BYTES as u64 + inline
    }

    /// Bytes that are not padding.
    pub(super) fn content_bytes(&self) -> u64 {
        self.tail_offset() + u64::from(self.tail_bytes)
    }

    /// Bytes of the padded body, its trailing length included.
    pub(super) fn body_bytes(&self) -> u64 {
        padded_length(self.content_bytes() + 4, BODY_BYTES_MIN)
    }
}

/// Neighbouring parts of equal length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartRun {
    /// How many parts; at least 1.
    pub count: u32,
    /// Bytes of each.
    pub length: u64,
}

impl PartRun {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
    }

    pub(super) fn decode(fields: &mut Reader<'_>) -> Result<Self, RecordError> {
        let run = Self { count: fields.u32()?, length: fields.u64()? };
        if run.count == 0 { Err(RecordError::Form("part run")) } else { Ok(run) }
    }
}

/// Neighbouring entries named under one epoch of one domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryRun {
    /// The first entry of the run.
    pub first: u32,
    /// The domain that holds the chunks.
    pub domain: DomainId,
    /// Epoch of the domain's secret.
    pub epoch: u32,
    /// How the chunks were named.
    pub naming: Naming,
}

impl EntryRun {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&self.domain.0);
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.push(match self.naming {
            Naming::Keyed => 0,
            Naming::Random => 1,
        });
    }

    pub(super) fn decode(fields: &mut Reader<'_>) -> Result<Self, RecordError> {
        let (first, domain, epoch) = (fields.u32()?, DomainId(fields.array()?), fields.u32()?);
        let naming = match fields.u8()? {
            0 => Naming::Keyed,
            1 => Naming::Random,
            _ => return Err(RecordError::Form("naming")),
        };
        Ok(Self { first, domain, epoch, naming })
    }

    /// Whether `other` may follow in the same run.
    pub(super) fn continues(&self, other: &Self) -> bool {
        (self.domain, self.epoch, self.naming) == (other.domain, other.epoch, other.naming)
    }
}
