//! The front and the end of a pack (`docs/format.md` §5.1, §5.3).

use super::index::{decode_header, index_record_bytes};
use crate::{
    ids::{PackId, WriterId},
    seal::{Reader, RecordError, put_lp},
};

/// First bytes of a pack.
pub const PACK_MAGIC: [u8; 4] = *b"RVp1";

/// Bytes of a pack's header.
pub const PACK_HEADER_BYTES: usize = 4 + 1 + 16 + 16 + 4;

const FOOTER_MAGIC: [u8; 4] = *b"RVf1";
const END_MAGIC: [u8; 4] = *b"RVe1";
const PACK_VERSION: u8 = 1;
/// Bytes at the very end of a closed pack: where its footer begins, its checksum, a mark.
pub(crate) const FOOTER_END_BYTES: usize = 8 + 4 + 4;

/// What a pack says of itself in the clear. The indexes are bound to its id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PackHeader {
    /// The pack.
    pub pack: PackId,
    /// Who writes it.
    pub writer: WriterId,
}

impl PackHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(PACK_HEADER_BYTES);
        out.extend_from_slice(&PACK_MAGIC);
        out.push(PACK_VERSION);
        out.extend_from_slice(&self.pack.0);
        out.extend_from_slice(&self.writer.0);
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out
    }

    /// Reads the header at the front of `bytes`.
    ///
    /// # Errors
    /// `Length`, `Form`, `Checksum`, `Unsupported`.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let header = bytes.get(..PACK_HEADER_BYTES).ok_or(RecordError::Length)?;
        let mut fields = Reader::new(header);
        if fields.array()? != PACK_MAGIC {
            return Err(RecordError::Form("magic of a pack"));
        }
        let version = fields.u8()?;
        let (pack, writer) = (PackId(fields.array()?), WriterId(fields.array()?));
        if fields.u32()? != crc32c::crc32c(&header[..PACK_HEADER_BYTES - 4]) {
            return Err(RecordError::Checksum);
        }
        if version == PACK_VERSION {
            Ok(Self { pack, writer })
        } else {
            Err(RecordError::Unsupported)
        }
    }
}

/// The footer of a pack that is closed at `offset`, repeating its index records.
#[must_use]
pub fn footer(offset: u64, indexes: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&FOOTER_MAGIC);
    out.push(PACK_VERSION);
    let count = u32::try_from(indexes.len()).expect("batches of a pack have 32-bit numbers");
    out.extend_from_slice(&count.to_le_bytes());
    indexes.iter().for_each(|index| put_lp(&mut out, index));
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    out.extend_from_slice(&END_MAGIC);
    out
}

/// Bytes of the footer of these indexes.
pub(crate) fn footer_bytes(index_bytes: u64, index_count: u64) -> u64 {
    4 + 1 + 4 + index_bytes + 4 * index_count + FOOTER_END_BYTES as u64
}

/// Where the footer of a pack begins that ends with `end`; none when no footer ends so.
pub(crate) fn footer_offset(end: &[u8; FOOTER_END_BYTES]) -> Option<u64> {
    let mut fields = Reader::new(end);
    let (offset, _) = (fields.u64().ok()?, fields.u32().ok()?);
    (fields.array().ok()? == END_MAGIC).then_some(offset)
}

/// The index records that a footer repeats; none when it is not sound.
pub(super) fn footer_indexes(footer: &[u8]) -> Option<Vec<&[u8]>> {
    let (_, end) = footer.split_last_chunk::<FOOTER_END_BYTES>()?;
    let mut fields = Reader::new(end);
    let (_, sum) = (fields.u64().ok()?, fields.u32().ok()?);
    let footer = footer.get(..footer.len() - 8)?;
    if crc32c::crc32c(footer) != sum {
        return None;
    }
    let mut fields = Reader::new(footer);
    if fields.array().ok()? != FOOTER_MAGIC || fields.u8().ok()? != PACK_VERSION {
        return None;
    }
    let count = fields.count(4).ok()?;
    let mut indexes = Vec::new();
    for _ in 0..count {
        let index = fields.lp(usize::MAX).ok()?;
        let (_, length) = decode_header(index).ok()?;
        if index.len() != index_record_bytes(length) {
            return None;
        }
        indexes.push(index);
    }
    Some(indexes)
}
