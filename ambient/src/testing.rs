//! A clock that is set by hand and a generator that repeats.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{Clock, Entropy};

/// A clock that moves only when told to.
#[derive(Debug, Default)]
pub struct ManualClock {
    unix_ms: AtomicU64,
    monotonic_ms: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `unix_ms`.
    #[must_use]
    pub fn at(unix_ms: u64) -> Self {
        Self { unix_ms: AtomicU64::new(unix_ms), monotonic_ms: AtomicU64::new(unix_ms) }
    }

    /// Moves the clock to `unix_ms`, forwards or backwards. The time that passes by it goes on with a step
    /// forwards and stands still at one backwards.
    pub fn set(&self, unix_ms: u64) {
        let before = self.unix_ms.swap(unix_ms, Ordering::SeqCst);
        self.monotonic_ms.fetch_add(unix_ms.saturating_sub(before), Ordering::SeqCst);
    }

    /// Sets the wall clock alone: no time passes by it.
    pub fn step(&self, unix_ms: u64) {
        self.unix_ms.store(unix_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn unix_ms(&self) -> u64 {
        self.unix_ms.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic_ms.load(Ordering::SeqCst))
    }
}

/// A generator whose bytes follow from its seed alone (a counter, hashed by `splitmix64`).
#[derive(Debug, Default)]
pub struct SeededEntropy(AtomicU64);

impl SeededEntropy {
    /// The generator of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        for piece in buffer.chunks_mut(8) {
            let mut word = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^= word >> 31;
            piece.copy_from_slice(&word.to_le_bytes()[..piece.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passing_time_never_goes_back() {
        let clock = ManualClock::at(1000);
        clock.set(3000);
        assert_eq!((clock.unix_ms(), clock.monotonic()), (3000, Duration::from_secs(3)));
        clock.set(500);
        assert_eq!((clock.unix_ms(), clock.monotonic()), (500, Duration::from_secs(3)));
        clock.set(1500);
        assert_eq!((clock.unix_ms(), clock.monotonic()), (1500, Duration::from_secs(4)));
        clock.step(90_000);
        assert_eq!((clock.unix_ms(), clock.monotonic()), (90_000, Duration::from_secs(4)));
    }
}
