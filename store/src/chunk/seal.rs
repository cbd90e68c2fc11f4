//! Sealing a chunk into its record.

use bytes::Bytes;
use readvault_ambient::{Entropy, random};
use zeroize::Zeroizing;

use super::{
    CHUNK_HEADER_BYTES, ChunkHeader, ChunkIdentity, ChunkRow, ChunkSize, Codec, Fullness,
    PlainChunk, TRAILER_BYTES,
};
use crate::{
    ids::{DomainId, PackId},
    seal::{ChunkEncryptionKey, ChunkRootKey, Frames, expand, expand_public},
};

/// A chunk's record, ready to be appended to a pack.
#[derive(Clone, Debug)]
pub struct SealedChunk {
    domain: DomainId,
    header: ChunkHeader,
    record: Bytes,
}

impl SealedChunk {
    /// The domain that the chunk belongs to; stands in no record, only in sealed indexes and rows.
    #[must_use]
    pub fn domain(&self) -> DomainId {
        self.domain
    }

    /// The record's header.
    #[must_use]
    pub fn header(&self) -> &ChunkHeader {
        &self.header
    }

    /// The record's bytes.
    #[must_use]
    pub fn record(&self) -> &Bytes {
        &self.record
    }

    /// The row of this chunk, once it lies at `offset` of `pack`.
    #[must_use]
    pub fn row(&self, pack: PackId, offset: u64, gc_epoch: u32) -> ChunkRow {
        ChunkRow::new(&self.header, pack, offset, gc_epoch)
    }
}

/// Seals `chunk` under the key that follows from its content, with a fresh nonce prefix. Reads the
/// content once and writes the record once; a full chunk is copied nowhere else.
///
/// # Panics
/// When `identity` is not that of a chunk of this length, or the chunk is longer than `size`.
#[must_use]
pub fn seal_chunk(
    identity: &ChunkIdentity,
    chunk: &PlainChunk,
    size: ChunkSize,
    entropy: &dyn Entropy,
) -> SealedChunk {
    assert_eq!(identity.length, chunk.length(), "the identity is that of this chunk");
    assert!(chunk.length() <= size.bytes(), "a chunk is at most C bytes");
    let full = chunk.length() == size.bytes();
    let header = ChunkHeader {
        fullness: if full { Fullness::Full } else { Fullness::Padded },
        codec: Codec::Raw,
        payload_bytes: if full { size.bytes() } else { size.payload_bytes(chunk.length()) },
        id: identity.id(),
        commitment: commitment(&identity.key),
        prefix: random(entropy),
    };
    let record = if full {
        record(&header, &identity.key, chunk.as_bytes())
    } else {
        record(&header, &identity.key, &padded_payload(chunk, header.payload_bytes))
    };
    SealedChunk { domain: identity.domain(), header, record }
}

/// com: what the record must show to be opened with `key`.
pub(super) fn commitment(key: &ChunkRootKey) -> [u8; 32] {
    expand_public(key, "chunk-com", &[])
}

/// The frames of the chunk that `header` describes.
pub(super) fn frames(header: &ChunkHeader, key: &ChunkRootKey) -> Frames {
    let key: ChunkEncryptionKey = expand(key, "chunk-enc", &[]);
    Frames::new(&key, header.prefix, header.aad(), header.payload_bytes)
}

/// coded bytes ‖ zeros ‖ u32 coded length ‖ u32 plain length.
fn padded_payload(chunk: &PlainChunk, payload_bytes: u32) -> Zeroizing<Vec<u8>> {
    let mut payload = Zeroizing::new(vec![0; payload_bytes as usize]);
    payload[..chunk.as_bytes().len()].copy_from_slice(chunk.as_bytes());
    let length = chunk.length().to_le_bytes();
    let trailer = payload_bytes as usize - TRAILER_BYTES;
    payload[trailer..trailer + 4].copy_from_slice(&length);
    payload[trailer + 4..].copy_from_slice(&length);
    payload
}

/// header ‖ frames ‖ CRC32C of all before.
fn record(header: &ChunkHeader, key: &ChunkRootKey, payload: &[u8]) -> Bytes {
    let length = usize::try_from(header.record_bytes()).expect("a record is at most a few MiB");
    let mut record = vec![0; length];
    record[..CHUNK_HEADER_BYTES].copy_from_slice(&header.encode());
    frames(header, key).seal(payload, &mut record[CHUNK_HEADER_BYTES..length - 4]);
    let sum = crc32c::crc32c(&record[..length - 4]);
    record[length - 4..].copy_from_slice(&sum.to_le_bytes());
    record.into()
}

#[cfg(test)]
mod tests {
    use readvault_ambient::System;

    use super::*;
    use crate::{
        chunk::{ChunkOpener, DomainKeys, open_record},
        seal::{DomainSecret, RecordError, SecretKey},
    };

    #[test]
    fn padding_that_is_not_zero_is_refused_wherever_it_is_opened() {
        let size = ChunkSize::new(1 << 20).unwrap();
        let domain = DomainKeys::derive(&DomainSecret::from_bytes(&[7; 32]), DomainId([1; 16]), 1);
        let chunk = PlainChunk::new(Bytes::from(vec![5; 70_001]));
        let identity = domain.identify(&chunk);
        let header = seal_chunk(&identity, &chunk, size, &System).header().clone();
        let mut payload = padded_payload(&chunk, header.payload_bytes);
        payload[70_001] = 1;
        let hidden = record(&header, &identity.key, &payload);
        let entry = identity.into_ref();
        let refused = Err(RecordError::Form("padding"));
        assert_eq!(open_record(&hidden, &entry, size, &domain).map(drop), refused);
        let row = ChunkRow::new(&header, PackId([0; 16]), 0, 0);
        let opener = ChunkOpener::new(&entry, &row, size).unwrap();
        let span = opener.span(70_000..70_001);
        let at = usize::try_from(span.offset).unwrap();
        let sealed = &hidden[at..at + span.length as usize];
        assert_eq!(opener.open(&span, sealed).map(drop), refused);
    }
}
