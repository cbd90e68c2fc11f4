//! The catalog row of a chunk (`docs/format.md` §3.3).

use super::{CHUNK_VERSION, ChunkHeader, ChunkId, Codec, Fullness, header::decode_form};
use crate::{
    ids::PackId,
    seal::{PREFIX_BYTES, Reader, RecordError},
};

/// Bytes of a row's value.
pub const CHUNK_ROW_BYTES: usize = 16 + 8 + 3 + 4 + PREFIX_BYTES + 32 + 4;

/// Where a chunk lies and all that its header says, so that a range read needs no header. The row's
/// key is domain ‖ CID.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChunkRow {
    /// The pack that holds the record.
    pub pack: PackId,
    /// Where in the pack the record begins.
    pub offset: u64,
    /// Whether the payload is full.
    pub fullness: Fullness,
    /// How the payload is coded.
    pub codec: Codec,
    /// The payload's bytes before sealing.
    pub payload_bytes: u32,
    /// Front of every frame's nonce.
    pub prefix: [u8; PREFIX_BYTES],
    /// Commitment to the chunk's root key.
    pub commitment: [u8; 32],
    /// The GC cycle in which the chunk was last chosen.
    pub gc_epoch: u32,
}

impl ChunkRow {
    /// The row of the record that begins with `header` at `offset` of `pack`.
    #[must_use]
    pub fn new(header: &ChunkHeader, pack: PackId, offset: u64, gc_epoch: u32) -> Self {
        Self {
            pack,
            offset,
            fullness: header.fullness,
            codec: header.codec,
            payload_bytes: header.payload_bytes,
            prefix: header.prefix,
            commitment: header.commitment,
            gc_epoch,
        }
    }

    /// The header of the record, as the chunk's name completes it.
    #[must_use]
    pub fn header(&self, id: ChunkId) -> ChunkHeader {
        ChunkHeader {
            fullness: self.fullness,
            codec: self.codec,
            payload_bytes: self.payload_bytes,
            id,
            commitment: self.commitment,
            prefix: self.prefix,
        }
    }

    /// The row's value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let flags = self.header(ChunkId([0; 32])).flags();
        let mut out = Vec::with_capacity(CHUNK_ROW_BYTES);
        out.extend_from_slice(&self.pack.0);
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&[CHUNK_VERSION, flags, self.codec as u8]);
        out.extend_from_slice(&self.payload_bytes.to_le_bytes());
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(&self.commitment);
        out.extend_from_slice(&self.gc_epoch.to_le_bytes());
        out
    }

    /// Reads a row's value.
    ///
    /// # Errors
    /// `Length`, `Form` or `Unsupported`.
    pub fn decode(value: &[u8]) -> Result<Self, RecordError> {
        let mut fields = Reader::new(value);
        let (pack, offset) = (PackId(fields.array()?), fields.u64()?);
        let [version, flags, codec] = fields.array()?;
        let (fullness, codec) = decode_form(version, flags, codec)?;
        let row = Self {
            pack,
            offset,
            fullness,
            codec,
            payload_bytes: fields.u32()?,
            prefix: fields.array()?,
            commitment: fields.array()?,
            gc_epoch: fields.u32()?,
        };
        fields.end()?;
        if row.payload_bytes == 0 { Err(RecordError::Form("empty payload")) } else { Ok(row) }
    }
}
