//! The whole record, its row, and a new key block for an old record.

use bytes::Bytes;
use readvault_ambient::Entropy;

use super::{
    KeyBlock, MANIFEST_HEADER_BYTES,
    head::{Blocks, Header},
};
use crate::{
    ids::{ManifestId, PackId},
    seal::{Frames, Reader, RecordError, VaultKey, put_lp, sha256},
};

/// Bytes of a row's value.
pub const MANIFEST_ROW_BYTES: usize = 16 + 8 + 4 + 4;

/// A manifest's record, ready to be appended to a pack.
#[derive(Clone, Debug)]
pub struct SealedManifest {
    id: ManifestId,
    head_bytes: u32,
    record: Bytes,
}

impl SealedManifest {
    /// The manifest's id.
    #[must_use]
    pub fn id(&self) -> ManifestId {
        self.id
    }

    /// The record's bytes.
    #[must_use]
    pub fn record(&self) -> &Bytes {
        &self.record
    }

    /// The row of this manifest, once it lies at `offset` of `pack`.
    #[must_use]
    pub fn row(&self, pack: PackId, offset: u64) -> ManifestRow {
        let length = u32::try_from(self.record.len()).expect("a record is below 4 GiB");
        ManifestRow { pack, offset, length, head_bytes: self.head_bytes }
    }
}

/// Where a manifest lies. The row's key is the manifest id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ManifestRow {
    /// The pack that holds the record.
    pub pack: PackId,
    /// Where in the pack the record begins.
    pub offset: u64,
    /// The record's bytes.
    pub length: u32,
    /// Bytes of header and blocks at its front.
    pub head_bytes: u32,
}

impl ManifestRow {
    /// The row's value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(MANIFEST_ROW_BYTES);
        out.extend_from_slice(&self.pack.0);
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&self.head_bytes.to_le_bytes());
        out
    }

    /// Reads a row's value.
    ///
    /// # Errors
    /// `Length` or `Form`.
    pub fn decode(value: &[u8]) -> Result<Self, RecordError> {
        let mut fields = Reader::new(value);
        let row = Self {
            pack: PackId(fields.array()?),
            offset: fields.u64()?,
            length: fields.u32()?,
            head_bytes: fields.u32()?,
        };
        fields.end()?;
        let fits = row.head_bytes < row.length && row.head_bytes as usize <= super::HEAD_BYTES_MAX;
        if fits { Ok(row) } else { Err(RecordError::Form("row of a manifest")) }
    }
}

/// head ‖ frames ‖ CRC32C of all before.
pub(super) fn assemble(
    id: ManifestId,
    head: Vec<u8>,
    frames: Frames,
    body: &[u8],
) -> SealedManifest {
    let body_bytes = u32::try_from(body.len()).expect("entries are limited");
    let sealed = usize::try_from(Frames::sealed_bytes_of(body_bytes)).expect("it fits memory");
    let head_bytes = u32::try_from(head.len()).expect("heads are bounded");
    let mut record = head;
    let start = record.len();
    record.resize(start + sealed + 4, 0);
    frames.seal(body, &mut record[start..start + sealed]);
    close(id, head_bytes, record)
}

fn close(id: ManifestId, head_bytes: u32, mut record: Vec<u8>) -> SealedManifest {
    let end = record.len() - 4;
    let sum = crc32c::crc32c(&record[..end]);
    record[end..].copy_from_slice(&sum.to_le_bytes());
    SealedManifest { id, head_bytes, record: record.into() }
}

/// Checks the checksums and lengths of a manifest record: all that a scrub without keys can do.
///
/// # Errors
/// `Length`, `Form`, `Checksum`, `Unsupported`.
pub fn check_manifest(record: &[u8]) -> Result<ManifestId, RecordError> {
    let (header, blocks) = (Header::decode(record)?, Blocks::find(record)?);
    if record_bytes(&header, &blocks) != record.len() as u64 {
        return Err(RecordError::Length);
    }
    let (body, sum) = record.split_at(record.len() - 4);
    if sum == crc32c::crc32c(body).to_le_bytes() {
        Ok(header.id)
    } else {
        Err(RecordError::Checksum)
    }
}

/// Bytes of the record that begins at the front of `bytes`, which must hold its head.
pub(crate) fn manifest_record_bytes(bytes: &[u8]) -> Result<u64, RecordError> {
    Ok(record_bytes(&Header::decode(bytes)?, &Blocks::find(bytes)?))
}

/// The id and the bytes of the head of the record that begins at the front of `bytes`, which must hold it.
pub(crate) fn manifest_head_bytes(bytes: &[u8]) -> Result<(ManifestId, u32), RecordError> {
    let (header, blocks) = (Header::decode(bytes)?, Blocks::find(bytes)?);
    Ok((header.id, u32::try_from(blocks.body_offset).expect("heads are bounded")))
}

fn record_bytes(header: &Header, blocks: &Blocks<'_>) -> u64 {
    blocks.body_offset as u64 + Frames::sealed_bytes_of(header.body_bytes) + 4
}

/// The same record with another key block: the id, the body and what they are bound to stay.
///
/// # Errors
/// As [`check_manifest`].
pub fn with_key_block(
    record: &[u8],
    key: &KeyBlock,
    vk: &VaultKey,
    entropy: &dyn Entropy,
) -> Result<SealedManifest, RecordError> {
    let id = check_manifest(record)?;
    let blocks = Blocks::find(record)?;
    let bound_to = sha256(&[&record[..MANIFEST_HEADER_BYTES]]);
    let mut out = record[..MANIFEST_HEADER_BYTES].to_vec();
    put_lp(&mut out, blocks.id);
    put_lp(&mut out, &key.seal(vk, &bound_to, entropy));
    let head_bytes = u32::try_from(out.len()).expect("heads are bounded");
    out.extend_from_slice(&record[blocks.body_offset..]);
    Ok(close(id, head_bytes, out))
}
