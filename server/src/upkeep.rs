//! What is said about upkeep: log line, metrics, and the row that `status` shows.

use readvault_ops::{core::Core, upkeep};
use readvault_store::vault::{Cycle, Scrub};

/// Tells of a finished cycle of garbage collection.
pub(crate) async fn note_cycle(core: &Core, cycle: &Cycle) {
    let words = words_of_cycle(cycle);
    tracing::info!(epoch = cycle.epoch, skipped_stores = cycle.skipped.len(), "garbage: {words}");
    metrics::counter!("readvault_gc_cycles_total").increment(1);
    metrics::counter!("readvault_gc_dropped_bytes_total").increment(cycle.bytes_dropped);
    metrics::counter!("readvault_gc_removed_bytes_total").increment(cycle.compaction.bytes_removed);
    #[expect(clippy::cast_precision_loss, reason = "a count for a gauge")]
    let (chunks, missing) = (cycle.chunks_kept as f64, cycle.packs_missing as f64);
    metrics::gauge!("readvault_chunks").set(chunks);
    metrics::gauge!("readvault_packs_missing").set(missing);
    note(core, "gc", words).await;
}

/// Tells of a finished scrub.
pub(crate) async fn note_scrub(core: &Core, scrub: &Scrub) {
    let words = words_of_scrub(scrub);
    tracing::info!("scrub: {words}");
    metrics::counter!("readvault_scrubs_total").increment(1);
    metrics::counter!("readvault_scrub_bytes_total").increment(scrub.bytes);
    metrics::counter!("readvault_scrub_damaged_total").increment(scrub.damaged);
    metrics::counter!("readvault_scrub_mended_total").increment(scrub.mended);
    note(core, "scrub", words).await;
}

async fn note(core: &Core, name: &str, words: String) {
    if let Err(fault) = upkeep::note(core, name, words).await {
        tracing::warn!(name, %fault, "upkeep ended, and its end could not be noted");
    }
}

/// A cycle in a line.
pub(crate) fn words_of_cycle(cycle: &Cycle) -> String {
    let Cycle { chunks_kept, chunks_dropped, bytes_dropped, compaction, .. } = cycle;
    let (dropped, removed) = (bytes_dropped >> 20, compaction.bytes_removed >> 20);
    let (packs, moved) = (compaction.packs_removed, compaction.bytes_moved >> 20);
    format!(
        "{chunks_dropped} chunks of {dropped} MiB dropped, {chunks_kept} kept; {packs} packs of {removed} \
         MiB removed, {moved} MiB moved out of them"
    )
}

/// A scrub in a line.
pub(crate) fn words_of_scrub(scrub: &Scrub) -> String {
    let Scrub { packs, bytes, records, opened, damaged, mended, .. } = scrub;
    let read = bytes >> 20;
    let found = match damaged {
        0 => "no damage".to_owned(),
        _ => format!("{damaged} damaged records, {mended} of them mended"),
    };
    format!(
        "{packs} packs of {read} MiB and {records} records read, {opened} chunks opened: {found}"
    )
}
