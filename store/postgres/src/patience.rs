//! When to try again to reach a database that could not be reached.

use std::time::Duration;

/// Time before the second try; every further failure doubles it.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// Most time between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Failures in a row, and until when nothing is tried.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patience {
    failures: u32,
    until: Duration,
}

impl Patience {
    /// Whether a try is due at `now`.
    pub(crate) fn is_over(&self, now: Duration) -> bool {
        now >= self.until
    }

    /// Time to wait at `now` for the next try.
    pub(crate) fn left(&self, now: Duration) -> Duration {
        self.until.saturating_sub(now)
    }

    /// Notes a failure; true for the first of a row.
    pub(crate) fn failed(&mut self, now: Duration) -> bool {
        let pause = PAUSE_MIN.saturating_mul(1 << self.failures.min(16)).min(PAUSE_MAX);
        self.failures += 1;
        self.until = now + pause;
        self.failures == 1
    }

    /// Notes a success; true when failures came before it.
    pub(crate) fn succeeded(&mut self) -> bool {
        std::mem::take(self).failures > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_start_anew() {
        let mut patience = Patience::default();
        let mut now = Duration::ZERO;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert!(patience.is_over(now));
            assert_eq!(patience.failed(now), pauses.is_empty());
            assert!(!patience.is_over(now));
            pauses.push(patience.left(now).as_millis());
            now += patience.left(now);
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert!(patience.succeeded());
        assert!(patience.is_over(Duration::ZERO) && !patience.succeeded());
    }
}
