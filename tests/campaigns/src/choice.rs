//! Choices that follow from a seed.

use bytes::Bytes;
use readvault_ambient::{Entropy, random, testing::SeededEntropy};

/// Draws from a seed.
#[derive(Debug)]
pub struct Choice(SeededEntropy);

impl Choice {
    /// The draws of `seed`; those of two seeds share nothing.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // The generator counts in steps of one constant, so near seeds must not be near starts.
        Self(SeededEntropy::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x5bd1_e995))
    }

    /// A number below `end`.
    ///
    /// # Panics
    /// When `end` is 0.
    pub fn below(&self, end: u64) -> u64 {
        u64::from_le_bytes(random(&self.0)) % end
    }

    /// An index of something with `length` elements.
    ///
    /// # Panics
    /// When `length` is 0.
    pub fn index(&self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below a usize")
    }

    /// True once in `of` times.
    pub fn once_in(&self, of: u64) -> bool {
        self.below(of) == 0
    }
}

/// `length` bytes that follow from `seed` and compress to nothing.
#[must_use]
pub fn noise(seed: u64, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    Choice::new(seed).0.fill(&mut bytes);
    bytes.into()
}
