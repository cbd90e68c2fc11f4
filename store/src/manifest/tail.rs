//! The end of a manifest's body: digests, format facts, metadata (`docs/format.md` §4.3).

use bytes::Bytes;

use super::body::TAIL_BYTES_MAX;
use crate::seal::{Reader, RecordError, put_lp};

/// A digest of the file's plain bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum DigestKind {
    /// Keyed id of the content within its domain (32 bytes).
    FileId = 1,
    /// SHA-256 (32 bytes).
    Sha256 = 2,
    /// MD5 (16 bytes).
    Md5 = 3,
    /// CRC32C, big-endian (4 bytes).
    Crc32c = 4,
    /// CRC-32, big-endian (4 bytes).
    Crc32 = 5,
    /// CRC-64/NVME, big-endian (8 bytes).
    Crc64Nvme = 6,
    /// SHA-1 (20 bytes).
    Sha1 = 7,
}

impl DigestKind {
    const ALL: [Self; 7] = [
        Self::FileId,
        Self::Sha256,
        Self::Md5,
        Self::Crc32c,
        Self::Crc32,
        Self::Crc64Nvme,
        Self::Sha1,
    ];

    /// Bytes of such a digest.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::FileId | Self::Sha256 => 32,
            Self::Md5 => 16,
            Self::Crc32c | Self::Crc32 => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
        }
    }

    fn of(code: u8) -> Result<Self, RecordError> {
        let kind = Self::ALL.into_iter().find(|kind| *kind as u8 == code);
        kind.ok_or(RecordError::Form("kind of a digest"))
    }
}

/// One digest that is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Digest {
    /// Which digest.
    pub kind: DigestKind,
    /// Its bytes, as many as its kind has.
    pub value: Vec<u8>,
}

/// What a manifest says of its file besides its bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tail {
    /// The digests known so far; each kind at most once, in the order of kinds.
    pub digests: Vec<Digest>,
    /// Facts about the file's format; opaque here; at most 64 KiB.
    pub facts: Bytes,
    /// What a rebuild needs to name the file again; opaque here; at most 64 KiB.
    pub metadata: Bytes,
}

const FACTS_BYTES_MAX: usize = 64 << 10;
const METADATA_BYTES_MAX: usize = 64 << 10;

impl Tail {
    /// The digest of `kind`, when it is known.
    #[must_use]
    pub fn digest(&self, kind: DigestKind) -> Option<&[u8]> {
        self.digests.iter().find(|digest| digest.kind == kind).map(|digest| &*digest.value)
    }

    /// # Panics
    /// When digests are out of order or of a wrong length, or a field is longer than its limit.
    pub(super) fn encode(&self) -> Vec<u8> {
        assert!(self.digests.is_sorted_by(|a, b| a.kind < b.kind), "digests are in order");
        assert!(self.facts.len() <= FACTS_BYTES_MAX, "format facts are short");
        assert!(self.metadata.len() <= METADATA_BYTES_MAX, "metadata is short");
        let mut out = vec![u8::try_from(self.digests.len()).expect("there are few kinds")];
        for digest in &self.digests {
            assert_eq!(digest.value.len(), digest.kind.bytes(), "length of a digest");
            out.push(digest.kind as u8);
            out.extend_from_slice(&digest.value);
        }
        put_lp(&mut out, &self.facts);
        put_lp(&mut out, &self.metadata);
        assert!(out.len() <= TAIL_BYTES_MAX as usize, "its fields are bounded");
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut fields = Reader::new(bytes);
        let mut digests = Vec::new();
        for _ in 0..fields.u8()? {
            let kind = DigestKind::of(fields.u8()?)?;
            if digests.last().is_some_and(|last: &Digest| last.kind >= kind) {
                return Err(RecordError::Form("order of digests"));
            }
            digests.push(Digest { kind, value: fields.take(kind.bytes())?.to_vec() });
        }
        let facts = Bytes::copy_from_slice(fields.lp(FACTS_BYTES_MAX)?);
        let metadata = Bytes::copy_from_slice(fields.lp(METADATA_BYTES_MAX)?);
        fields.end()?;
        Ok(Self { digests, facts, metadata })
    }
}
