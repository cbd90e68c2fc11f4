//! Upkeep of the vault beside the APIs: garbage collection and scrubs, each when it is due.
//!
//! When the last one ended stands in the catalog, so that restarts neither forget nor repeat one.

use std::time::Duration;

use readvault_ambient::{Clock, System};
use readvault_store::vault::{Cycle, GcOptions, Scrub, ScrubOptions, Vault};

use crate::settings::UpkeepSettings;

/// Time between two looks at what is due.
const LOOK: Duration = Duration::from_secs(60);

/// Time after which something that failed is tried again.
const AGAIN: Duration = Duration::from_secs(600);

const HOUR_MS: u64 = 3_600_000;

/// Does what is due, until it is dropped.
pub(super) struct Upkeep {
    vault: Vault,
    settings: UpkeepSettings,
}

impl Upkeep {
    pub(super) fn new(vault: Vault, settings: UpkeepSettings) -> Self {
        Self { vault, settings }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(&self) {
        tokio::join!(self.collect(), self.scrub());
    }

    async fn collect(&self) {
        let options =
            GcOptions { dead_percent: self.settings.gc_dead_percent, ..GcOptions::default() };
        loop {
            let last = self.vault.last_garbage_collection().await;
            let ended = last.map(|last| last.map(|cycle| cycle.ended_ms));
            if is_due(ended, self.settings.gc_hours) {
                match self.vault.collect_garbage(options).await {
                    Ok(cycle) => note_cycle(&cycle),
                    Err(cause) => {
                        tracing::error!(%cause, "garbage could not be collected");
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn scrub(&self) {
        let options = ScrubOptions {
            bytes_a_second: Some(self.settings.scrub_mib_a_second << 20).filter(|rate| *rate > 0),
            open_percent: self.settings.scrub_open_percent,
            resume: true,
        };
        loop {
            let last = self.vault.last_scrub().await;
            let ended = last.map(|last| last.map(|scrub| scrub.ended_ms));
            if is_due(ended, self.settings.scrub_days.saturating_mul(24)) {
                match self.vault.scrub(options, &|_| {}).await {
                    Ok(scrub) => note_scrub(&scrub),
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
    let interval = hours.saturating_mul(HOUR_MS);
    hours > 0 && System.unix_ms().saturating_sub(ended.unwrap_or(0)) >= interval
}

/// Log line and metrics of a cycle.
pub(crate) fn note_cycle(cycle: &Cycle) {
    let Cycle { epoch, chunks_kept, chunks_dropped, bytes_dropped, compaction, .. } = cycle;
    tracing::info!(
        epoch,
        chunks_kept,
        chunks_dropped,
        bytes_dropped,
        ?compaction,
        "garbage collected"
    );
    metrics::counter!("readvault_gc_cycles_total").increment(1);
    metrics::counter!("readvault_gc_dropped_bytes_total").increment(*bytes_dropped);
    metrics::counter!("readvault_gc_removed_bytes_total").increment(compaction.bytes_removed);
    #[expect(clippy::cast_precision_loss, reason = "a count for a gauge")]
    metrics::gauge!("readvault_chunks").set(*chunks_kept as f64);
}

/// Log line and metrics of a scrub.
pub(crate) fn note_scrub(scrub: &Scrub) {
    let Scrub { packs, bytes, records, damaged, mended, .. } = scrub;
    tracing::info!(packs, bytes, records, damaged, mended, "scrubbed");
    metrics::counter!("readvault_scrubs_total").increment(1);
    metrics::counter!("readvault_scrub_bytes_total").increment(*bytes);
    metrics::counter!("readvault_scrub_damaged_total").increment(*damaged);
    metrics::counter!("readvault_scrub_mended_total").increment(*mended);
}
