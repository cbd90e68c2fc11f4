//! The head of a manifest record: header, id block, key block (`docs/format.md` §4.1).

use std::ops::Range;

use super::{
    IdBlock, KeyBlock,
    blocks::{ID_BLOCK_BYTES_MAX, KEY_BLOCK_BYTES_MAX, open_id},
};
use crate::{
    ids::ManifestId,
    seal::{
        Frames, ItemKey, ManifestEncryptionKey, ManifestRootKey, PREFIX_BYTES, Reader, RecordError,
        VaultKey, expand, expand_public, same, sha256,
    },
};

/// First bytes of a manifest record.
pub const MANIFEST_MAGIC: [u8; 4] = *b"RVm1";

/// Bytes of a manifest's header.
pub const MANIFEST_HEADER_BYTES: usize = 4 + 1 + 16 + 4 + 4 + 32 + PREFIX_BYTES + 4;

/// The most bytes that header and blocks together take: a read of so many always holds the whole
/// head.
pub const HEAD_BYTES_MAX: usize =
    MANIFEST_HEADER_BYTES + 8 + ID_BLOCK_BYTES_MAX + KEY_BLOCK_BYTES_MAX;

const MANIFEST_VERSION: u8 = 1;

/// The clear header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) id: ManifestId,
    pub(super) body_bytes: u32,
    pub(super) commitment: [u8; 32],
    pub(super) prefix: [u8; PREFIX_BYTES],
}

impl Header {
    pub(super) fn encode(&self) -> [u8; MANIFEST_HEADER_BYTES] {
        let mut out = Vec::with_capacity(MANIFEST_HEADER_BYTES);
        out.extend_from_slice(&MANIFEST_MAGIC);
        out.push(MANIFEST_VERSION);
        out.extend_from_slice(&self.id.0);
        out.extend_from_slice(&self.body_bytes.to_le_bytes());
        out.extend_from_slice(&Frames::count_of(self.body_bytes).to_le_bytes());
        out.extend_from_slice(&self.commitment);
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out.try_into().expect("the fields add up to the header's size")
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let header = bytes.get(..MANIFEST_HEADER_BYTES).ok_or(RecordError::Length)?;
        let mut fields = Reader::new(header);
        if fields.array()? != MANIFEST_MAGIC {
            return Err(RecordError::Form("magic of a manifest"));
        }
        let (version, id) = (fields.u8()?, ManifestId(fields.array()?));
        let (body_bytes, frames) = (fields.u32()?, fields.u32()?);
        let (commitment, prefix) = (fields.array()?, fields.array()?);
        if fields.u32()? != crc32c::crc32c(&header[..MANIFEST_HEADER_BYTES - 4]) {
            return Err(RecordError::Checksum);
        }
        if version != MANIFEST_VERSION {
            return Err(RecordError::Unsupported);
        }
        if body_bytes == 0 || frames != Frames::count_of(body_bytes) {
            return Err(RecordError::Form("length of a body"));
        }
        Ok(Self { id, body_bytes, commitment, prefix })
    }
}

/// The two sealed blocks behind a header, and where the body begins.
#[derive(Debug)]
pub(super) struct Blocks<'a> {
    pub(super) id: &'a [u8],
    pub(super) key: &'a [u8],
    pub(super) body_offset: usize,
}

impl<'a> Blocks<'a> {
    pub(super) fn find(record: &'a [u8]) -> Result<Self, RecordError> {
        let blocks = record.get(MANIFEST_HEADER_BYTES..).ok_or(RecordError::Length)?;
        let mut fields = Reader::new(blocks);
        let id = fields.lp(ID_BLOCK_BYTES_MAX)?;
        let key = fields.lp(KEY_BLOCK_BYTES_MAX)?;
        Ok(Self { id, key, body_offset: MANIFEST_HEADER_BYTES + 8 + id.len() + key.len() })
    }
}

/// The opened head of a manifest record.
#[derive(Debug)]
pub struct ManifestHead {
    header: Header,
    /// The id block's plain bytes, to which the body is bound.
    id_bytes: Vec<u8>,
    id: IdBlock,
    key: KeyBlock,
    body_offset: usize,
}

impl ManifestHead {
    /// Opens the head at the front of `bytes`, which may be a whole record or its beginning: the
    /// head's length stands in the manifest's row, and is at most [`HEAD_BYTES_MAX`].
    ///
    /// # Errors
    /// `Length` when `bytes` ends within the head; `Form`, `Checksum`, `Authentication`,
    /// `Unsupported`.
    pub fn open(bytes: &[u8], vk: &VaultKey) -> Result<Self, RecordError> {
        let header = Header::decode(bytes)?;
        let blocks = Blocks::find(bytes)?;
        let bound_to = sha256(&[&header.encode()]);
        let id_bytes = open_id(vk, &bound_to, blocks.id)?;
        let id = IdBlock::decode(&id_bytes)?;
        let key = KeyBlock::open(vk, &bound_to, blocks.key)?;
        Ok(Self { header, id_bytes, id, key, body_offset: blocks.body_offset })
    }

    /// The manifest's id.
    #[must_use]
    pub fn manifest(&self) -> ManifestId {
        self.header.id
    }

    /// Whose file it is.
    #[must_use]
    pub fn id(&self) -> &IdBlock {
        &self.id
    }

    /// How its item's key is wrapped.
    #[must_use]
    pub fn key(&self) -> &KeyBlock {
        &self.key
    }

    /// Bytes of the head.
    #[must_use]
    pub fn head_bytes(&self) -> u32 {
        u32::try_from(self.body_offset).expect("heads are bounded")
    }

    /// Plain bytes of the body.
    pub(super) fn body_bytes(&self) -> u32 {
        self.header.body_bytes
    }

    /// Where in the record the stored bytes `sealed` of the body's frames lie.
    pub(super) fn in_record(&self, sealed: &Range<u64>) -> Range<u64> {
        let offset = self.body_offset as u64;
        offset + sealed.start..offset + sealed.end
    }

    /// The body's frames, when `key` is the item's key that the record commits to.
    pub(super) fn frames(&self, key: &ItemKey) -> Result<Frames, RecordError> {
        let root = root_key(key, self.header.id);
        if !same(&commitment(&root), &self.header.commitment) {
            return Err(RecordError::Authentication);
        }
        Ok(frames(&self.header, &root, &self.id_bytes))
    }
}

/// MR.
pub(super) fn root_key(key: &ItemKey, manifest: ManifestId) -> ManifestRootKey {
    expand(key, "manifest", &[&manifest.0])
}

/// com.
pub(super) fn commitment(root: &ManifestRootKey) -> [u8; 32] {
    expand_public(root, "manifest-com", &[])
}

pub(super) fn frames(header: &Header, root: &ManifestRootKey, id_bytes: &[u8]) -> Frames {
    let key: ManifestEncryptionKey = expand(root, "manifest-enc", &[]);
    let aad = sha256(&[&header.encode(), id_bytes]);
    Frames::new(&key, header.prefix, aad, header.body_bytes)
}
