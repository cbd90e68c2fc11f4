//! Chunks: cutting, naming, sealing and opening.
//!
//! A chunk is 1 to C plain bytes, cut at fixed offsets of its part or file. Its name and its key
//! follow from its content and the secret of its deduplication domain. Pure codecs over slices; the
//! vault decides what is stored and the chunk store where. Bytes: `docs/format.md` §3.

mod cut;
mod header;
mod identity;
mod open;
mod row;
mod seal;

use std::fmt;

pub use cut::{Cutter, PlainChunk};
pub use header::{CHUNK_HEADER_BYTES, CHUNK_MAGIC, CHUNK_VERSION, ChunkHeader, Codec, Fullness};
pub use identity::{ChunkIdentity, DomainKeys, FileId, FileIdHasher, random_identity};
pub use open::{ChunkOpener, FrameSpan, SpanOpening, check_record, open_record};
pub use row::{CHUNK_ROW_BYTES, ChunkRow};
pub use seal::{SealedChunk, seal_chunk};

use crate::{
    ids::DomainId,
    seal::{ChunkRootKey, RecordError, padded_length},
};

/// Smallest padded payload of a chunk that is not full.
pub const PAYLOAD_BYTES_MIN: u64 = 4 << 10;

/// Bytes of the trailer of a payload that is not full: coded length, plain length.
pub(crate) const TRAILER_BYTES: usize = 8;

/// C: the most plain bytes of a chunk, fixed when its domain is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkSize(u32);

impl ChunkSize {
    /// 1 MiB, the size of a domain that does not choose another.
    pub const DEFAULT: Self = Self(1 << 20);

    /// A chunk size of `bytes`: a multiple of 64 KiB from 256 KiB to 4 MiB.
    ///
    /// # Errors
    /// `Form` for any other.
    pub fn new(bytes: u32) -> Result<Self, RecordError> {
        let whole_frames = bytes.is_multiple_of(64 << 10);
        if whole_frames && (256 << 10..=4 << 20).contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(RecordError::Form("chunk size"))
        }
    }

    /// The size in bytes.
    #[must_use]
    pub fn bytes(self) -> u32 {
        self.0
    }

    /// The longest payload that a reader accepts in a domain of this size.
    #[must_use]
    pub fn payload_bytes_max(self) -> u32 {
        self.payload_bytes(self.0)
    }

    /// The padded payload for `coded` bytes of a chunk that is not full.
    pub(crate) fn payload_bytes(self, coded: u32) -> u32 {
        let length = padded_length(u64::from(coded) + TRAILER_BYTES as u64, PAYLOAD_BYTES_MIN);
        u32::try_from(length).expect("a chunk is at most 4 MiB")
    }
}

/// CID: the name of a chunk within its domain; means nothing without the domain's secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkId(pub [u8; 32]);

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkId({self})")
    }
}

/// How a chunk got its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Naming {
    /// From its content: equal chunks of a domain are stored once.
    Keyed,
    /// At random (`dedup = off`): no two are equal, and nobody can ask whether content is there.
    Random,
}

/// One chunk of a file as a manifest names it. Opens the chunk: kept in sealed manifests only.
#[derive(Debug)]
pub struct ChunkRef {
    /// The domain that holds it.
    pub domain: DomainId,
    /// Epoch of the domain's secret that named it.
    pub epoch: u32,
    /// How it was named.
    pub naming: Naming,
    /// Its name.
    pub id: ChunkId,
    /// Its root key.
    pub key: ChunkRootKey,
    /// Its plain bytes.
    pub length: u32,
}
