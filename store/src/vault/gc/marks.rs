//! Which chunks are named by something: a Bloom filter, so that memory has a limit.
//!
//! A chunk that is named is always found marked. One that is not is found marked by mistake in about one of a
//! hundred cases, and then stays until the next cycle, which draws another salt.

use std::sync::atomic::{AtomicU64, Ordering};

use readvault_ambient::{Entropy, random};

use crate::vault::in_flight::ChunkMark;

/// Bits for each chunk, where memory allows.
const BITS_A_CHUNK: u64 = 10;

/// Bits that are set for a chunk.
const HASHES: u64 = 7;

/// Most bytes of the filter: at 1 MiB a chunk, enough for 50 TiB at the rate above; beyond, more dead chunks
/// stay a cycle longer.
const BYTES_MAX: u64 = 64 << 20;

/// Fewest words of the filter.
const WORDS_MIN: u64 = 1 << 10;

/// The marks of one cycle.
#[derive(Debug)]
pub(super) struct Marks {
    words: Vec<AtomicU64>,
    salt: [u64; 2],
}

impl Marks {
    /// Empty marks for about `chunks` chunks.
    pub(super) fn for_chunks(chunks: u64, entropy: &dyn Entropy) -> Self {
        let words = (chunks.saturating_mul(BITS_A_CHUNK) / 64).clamp(WORDS_MIN, BYTES_MAX / 8);
        let salt = [random::<8>(entropy), random(entropy)].map(u64::from_le_bytes);
        Self { words: (0..words).map(|_| AtomicU64::new(0)).collect(), salt }
    }

    /// Marks a chunk.
    pub(super) fn add(&self, chunk: ChunkMark) {
        for (word, bit) in self.places(chunk) {
            self.words[word].fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Whether a chunk may be marked; never false for one that is.
    pub(super) fn has(&self, chunk: ChunkMark) -> bool {
        self.places(chunk).all(|(word, bit)| self.words[word].load(Ordering::Relaxed) & bit != 0)
    }

    fn places(&self, chunk: ChunkMark) -> impl Iterator<Item = (usize, u64)> + use<> {
        let bits = self.words.len() as u64 * 64;
        let first = mix(chunk.0 ^ self.salt[0]);
        let step = mix(chunk.1 ^ self.salt[1]) | 1;
        (0..HASHES).map(move |hash| {
            let bit = first.wrapping_add(hash.wrapping_mul(step)) % bits;
            (usize::try_from(bit / 64).expect("the filter is in memory"), 1 << (bit % 64))
        })
    }
}

/// Spreads a word over all of its bits (the finalizer of `splitmix64`).
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use readvault_ambient::System;

    use super::*;

    #[test]
    fn what_is_marked_is_found_and_little_else() {
        let chunk =
            || ChunkMark(u64::from_le_bytes(random(&System)), u64::from_le_bytes(random(&System)));
        let (named, others): (Vec<_>, Vec<_>) = (0..20_000).map(|_| (chunk(), chunk())).unzip();
        let marks = Marks::for_chunks(20_000, &System);
        named.iter().for_each(|chunk| marks.add(*chunk));
        assert!(named.iter().all(|chunk| marks.has(*chunk)));
        let mistaken = others.iter().filter(|chunk| marks.has(**chunk)).count();
        assert!(mistaken < 600, "{mistaken} of 20,000");
    }
}
