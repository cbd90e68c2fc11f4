//! The fixed header of a chunk record (`docs/format.md` §3.1).

use super::ChunkId;
use crate::seal::{Frames, PREFIX_BYTES, Reader, RecordError, sha256};

/// First bytes of a chunk record.
pub const CHUNK_MAGIC: [u8; 4] = *b"RVc1";

/// The version that this program writes.
pub const CHUNK_VERSION: u8 = 1;

/// Bytes of a chunk's header.
pub const CHUNK_HEADER_BYTES: usize = 4 + 3 + 4 + 32 + 32 + PREFIX_BYTES + 4;

const FLAG_FULL: u8 = 1;

/// Whether a payload is exactly C plain bytes, with nothing added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fullness {
    /// Exactly C plain bytes, raw.
    Full,
    /// Coded bytes, zeros and a trailer.
    Padded,
}

/// How the plain bytes of a payload are coded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Codec {
    /// As they are.
    Raw = 0,
}

/// All that a record says of its chunk in the clear, and all that its frames are bound to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChunkHeader {
    /// Whether the payload is full.
    pub fullness: Fullness,
    /// How it is coded.
    pub codec: Codec,
    /// Its bytes before sealing, padding included; at least 1.
    pub payload_bytes: u32,
    /// The chunk's name.
    pub id: ChunkId,
    /// Commitment to the chunk's root key.
    pub commitment: [u8; 32],
    /// Front of every frame's nonce.
    pub prefix: [u8; PREFIX_BYTES],
}

impl ChunkHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; CHUNK_HEADER_BYTES] {
        let mut out = Vec::with_capacity(CHUNK_HEADER_BYTES);
        out.extend_from_slice(&CHUNK_MAGIC);
        out.extend_from_slice(&[CHUNK_VERSION, self.flags(), self.codec as u8]);
        out.extend_from_slice(&self.payload_bytes.to_le_bytes());
        out.extend_from_slice(&self.id.0);
        out.extend_from_slice(&self.commitment);
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out.try_into().expect("the fields add up to the header's size")
    }

    /// Reads a header from the front of `bytes`.
    ///
    /// # Errors
    /// `Length`, `Form`, `Checksum`, or `Unsupported` for a version, flag or codec not known here.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let header = bytes.get(..CHUNK_HEADER_BYTES).ok_or(RecordError::Length)?;
        let mut fields = Reader::new(header);
        if fields.array()? != CHUNK_MAGIC {
            return Err(RecordError::Form("magic of a chunk"));
        }
        let [version, flags, codec] = fields.array()?;
        let payload_bytes = fields.u32()?;
        let (id, commitment, prefix) = (ChunkId(fields.array()?), fields.array()?, fields.array()?);
        if fields.u32()? != crc32c::crc32c(&header[..CHUNK_HEADER_BYTES - 4]) {
            return Err(RecordError::Checksum);
        }
        let (fullness, codec) = decode_form(version, flags, codec)?;
        if payload_bytes == 0 {
            return Err(RecordError::Form("empty payload"));
        }
        Ok(Self { fullness, codec, payload_bytes, id, commitment, prefix })
    }

    /// Bytes of the whole record: header, frames, checksum.
    #[must_use]
    pub fn record_bytes(&self) -> u64 {
        CHUNK_HEADER_BYTES as u64 + Frames::sealed_bytes_of(self.payload_bytes) + 4
    }

    /// What the frames are bound to.
    pub(super) fn aad(&self) -> [u8; 32] {
        sha256(&[&self.encode()])
    }

    pub(super) fn flags(&self) -> u8 {
        match self.fullness {
            Fullness::Full => FLAG_FULL,
            Fullness::Padded => 0,
        }
    }
}

/// Reads version, flags and codec, as headers and rows hold them.
pub(super) fn decode_form(
    version: u8,
    flags: u8,
    codec: u8,
) -> Result<(Fullness, Codec), RecordError> {
    if version != CHUNK_VERSION || flags & !FLAG_FULL != 0 || codec != Codec::Raw as u8 {
        return Err(RecordError::Unsupported);
    }
    let fullness = if flags & FLAG_FULL == 0 { Fullness::Padded } else { Fullness::Full };
    Ok((fullness, Codec::Raw))
}
