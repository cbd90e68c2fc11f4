//! Upkeep of the vault beside the APIs: garbage collection and scrubs, each when it is due, and closed packs
//! settled, so that the next start is short.
//!
//! When the last one ended stands in the catalog, so that restarts neither forget nor repeat one.

use std::time::Duration;

use readvault_ambient::{Clock, System};
use readvault_ops::core::Core;
use readvault_store::vault::{GcOptions, ScrubOptions};

use crate::{
    settings::UpkeepSettings,
    upkeep::{note_cycle, note_scrub},
};

/// Time between two looks at what is due.
const LOOK: Duration = Duration::from_secs(60);

/// Time between two looks at packs that were closed: a start after a kill reads those of the last one.
const LOOK_AT_PACKS: Duration = Duration::from_secs(5);

/// Time after which something that failed is tried again.
const AGAIN: Duration = Duration::from_secs(600);

const HOUR_MS: u64 = 3_600_000;

/// Does what is due, until it is dropped.
pub(super) struct Upkeep {
    core: Core,
    settings: UpkeepSettings,
}

impl Upkeep {
    pub(super) fn new(core: Core, settings: UpkeepSettings) -> Self {
        Self { core, settings }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(&self) {
        tokio::join!(self.collect(), self.scrub(), self.settle());
    }

    async fn collect(&self) {
        let options =
            GcOptions { dead_percent: self.settings.gc_dead_percent, ..GcOptions::default() };
        loop {
            let last = self.core.vault().last_garbage_collection().await;
            let ended = last.map(|last| last.map(|cycle| cycle.ended_ms));
            if is_due(ended, self.settings.gc_hours) {
                match self.core.vault().collect_garbage(options).await {
                    Ok(cycle) => note_cycle(&self.core, &cycle).await,
                    Err(cause) => {
                        tracing::error!(%cause, "garbage could not be collected");
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn settle(&self) {
        loop {
            tokio::time::sleep(LOOK_AT_PACKS).await;
            // What fails now is done by the next look, or by the next start.
            match self.core.vault().settle_packs().await {
                Ok(0) => {}
                Ok(count) => tracing::debug!(count, "closed packs were settled"),
                Err(cause) => tracing::warn!(%cause, "closed packs could not be settled"),
            }
        }
    }

    async fn scrub(&self) {
        let options = ScrubOptions {
            bytes_a_second: Some(self.settings.scrub_mib_a_second << 20).filter(|rate| *rate > 0),
            open_percent: self.settings.scrub_open_percent,
            resume: true,
        };
        loop {
            let last = self.core.vault().last_scrub().await;
            let ended = last.map(|last| last.map(|scrub| scrub.ended_ms));
            if is_due(ended, self.settings.scrub_days.saturating_mul(24)) {
                match self.core.vault().scrub(options, &|_| {}).await {
                    Ok(scrub) => note_scrub(&self.core, &scrub).await,
                    Err(cause) => {
                        tracing::error!(%cause, "a scrub was given up");
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Whether something that ended at `ended` is due again, or was never done; never with 0 hours.
fn is_due(ended: readvault_store::Result<Option<u64>>, hours: u64) -> bool {
    let Ok(ended) = ended else { return false };
    hours > 0 && is_over(ended.unwrap_or(0), hours.saturating_mul(HOUR_MS), System.unix_ms())
}

/// Whether `interval` has passed since `ended`, or the clock was ahead then: nobody knows how long ago that was.
fn is_over(ended: u64, interval: u64, now: u64) -> bool {
    now.checked_sub(ended).is_none_or(|since| since >= interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_ahead_puts_no_upkeep_off() {
        assert!(is_over(0, HOUR_MS, HOUR_MS) && !is_over(1, HOUR_MS, HOUR_MS));
        assert!(is_over(HOUR_MS + 1, HOUR_MS, HOUR_MS));
    }
}
