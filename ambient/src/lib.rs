//! Clock and randomness: the only place that asks the operating system for either.
//!
//! Everything else receives a [`Clock`] and an [`Entropy`] through its constructor, so that a test
//! which records both replays exactly (INV-8). No formatting, no scheduling, no key derivation.

use std::{
    fmt,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

#[cfg(any(test, feature = "testing"))]
pub mod testing;

/// Tells the time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Milliseconds since 1970-01-01T00:00:00Z by the wall clock, which may step backwards.
    fn unix_ms(&self) -> u64;

    /// Time since an arbitrary fixed start, which never steps backwards.
    fn monotonic(&self) -> Duration;
}

/// Gives random bytes fit for keys.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Fills `buffer` from the operating system's generator.
    ///
    /// # Panics
    /// When the operating system has no randomness to give: nothing may be sealed then.
    fn fill(&self, buffer: &mut [u8]);
}

/// `N` random bytes from `entropy`.
pub fn random<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}

/// The operating system's clock and generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
impl Clock for System {
    fn unix_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn monotonic(&self) -> Duration {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }
}

impl Entropy for System {
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the operating system gives random bytes");
    }
}
