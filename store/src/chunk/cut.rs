//! Cutting a body into chunks at fixed offsets.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::ChunkSize;

/// The plain bytes of one chunk: made by cutting a body or by opening a record, and in no other
/// way.
#[derive(Clone, PartialEq, Eq)]
pub struct PlainChunk(Bytes);

impl PlainChunk {
    pub(super) fn new(bytes: Bytes) -> Self {
        assert!(!bytes.is_empty(), "a chunk has at least one byte");
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to send on.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// How many bytes.
    #[must_use]
    pub fn length(&self) -> u32 {
        u32::try_from(self.0.len()).expect("a chunk is at most 4 MiB")
    }
}

impl fmt::Debug for PlainChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlainChunk({} bytes)", self.0.len())
    }
}

/// Cuts the pieces of one part or file into chunks. Holds at most one chunk; copies each byte at
/// most once, and none of a piece that holds a whole chunk at the right place.
#[derive(Debug)]
pub struct Cutter {
    size: usize,
    open: BytesMut,
}

impl Cutter {
    /// A cutter at the start of a part or file.
    #[must_use]
    pub fn new(size: ChunkSize) -> Self {
        Self { size: size.bytes() as usize, open: BytesMut::new() }
    }

    /// Eats from the front of `piece`; gives a chunk as soon as one is full. Call until `piece` is
    /// empty.
    pub fn push(&mut self, piece: &mut Bytes) -> Option<PlainChunk> {
        if self.open.is_empty() && piece.len() >= self.size {
            return Some(PlainChunk::new(piece.split_to(self.size)));
        }
        if self.open.is_empty() && !piece.is_empty() {
            self.open.reserve(self.size);
        }
        let room = self.size - self.open.len();
        self.open.extend_from_slice(&piece.split_to(room.min(piece.len())));
        (self.open.len() == self.size).then(|| PlainChunk::new(self.open.split().freeze()))
    }

    /// The bytes held that do not fill a chunk yet.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.open.len()
    }

    /// The last, shorter chunk, when there is one.
    #[must_use]
    pub fn finish(self) -> Option<PlainChunk> {
        (!self.open.is_empty()).then(|| PlainChunk::new(self.open.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_at_the_same_offsets_whatever_the_pieces() {
        let size = ChunkSize::new(256 << 10).unwrap();
        let body: Vec<u8> = (0..1_000_003_u32).map(|i| (i % 251) as u8).collect();
        let whole: Vec<_> = body.chunks(256 << 10).map(<[u8]>::to_vec).collect();
        for piece_bytes in [1000, 65_536, 262_144, 300_000, 1_000_003] {
            let mut cutter = Cutter::new(size);
            let mut chunks = Vec::new();
            for piece in body.chunks(piece_bytes) {
                let mut piece = Bytes::copy_from_slice(piece);
                while !piece.is_empty() {
                    chunks.extend(cutter.push(&mut piece));
                }
            }
            chunks.extend(cutter.finish());
            let chunks: Vec<_> = chunks.iter().map(|c| c.as_bytes().to_vec()).collect();
            assert_eq!(chunks, whole, "pieces of {piece_bytes}");
        }
        assert!(Cutter::new(size).finish().is_none());
    }
}
