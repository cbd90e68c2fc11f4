//! Garbage collection: cycles that mark and sweep chunk rows, and compaction of packs with dead bytes.
//!
//! No counts are kept. A cycle raises the epoch, marks every chunk that an upload in flight holds or a
//! committed manifest names, and drops the rows that are unmarked and two epochs old. What is chosen while a
//! cycle runs is of its epoch (`choose`), so that cycles and uploads never wait for each other; why that is
//! enough stands in `docs/decisions/0006-garbage-collection.md`. Compaction then moves what lives out of
//! packs with enough dead bytes, and removes them.

mod compact;
mod mark;
mod marks;
mod pack_use;
mod state;
mod sweep;
mod voids;

use std::{collections::BTreeSet, sync::atomic::Ordering};

use serde::{Deserialize, Serialize};

pub use compact::Compaction;
use marks::Marks;
use pack_use::PackUse;
pub(super) use state::epoch;

use super::Inner;
use crate::{Result, ids::StoreId};

/// How a cycle and the compaction behind it are run.
#[derive(Clone, Copy, Debug)]
pub struct GcOptions {
    /// Share of a pack's bytes, in percent, that must be dead before it is compacted.
    pub dead_percent: u8,
    /// Whether anything is changed; without it, only counted.
    pub dry_run: bool,
}

impl Default for GcOptions {
    fn default() -> Self {
        Self { dead_percent: 30, dry_run: false }
    }
}

/// What one cycle did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Cycle {
    /// Its epoch.
    pub epoch: u32,
    /// Milliseconds since 1970 at which it ended.
    pub ended_ms: u64,
    /// Manifests that were walked.
    pub manifests: u64,
    /// Rows of chunks that stay.
    pub chunks_kept: u64,
    /// Rows of chunks that were dropped (or, in a dry run, would be).
    pub chunks_dropped: u64,
    /// Stored bytes of these.
    pub bytes_dropped: u64,
    /// Stores that have a manifest which could not be opened: nothing of their domains was dropped.
    pub skipped: BTreeSet<StoreId>,
    /// Packs that rows name and that are gone: what they held is lost here, and known by its rows alone.
    #[serde(default)]
    pub packs_missing: u64,
    /// What compaction did after it.
    pub compaction: Compaction,
}

impl Inner {
    /// One cycle, then compaction.
    pub(super) async fn collect(&self, options: GcOptions) -> Result<Cycle> {
        let _one_at_a_time = self.upkeep.lock().await;
        let lease = self.begin(options).await?;
        let marks = Marks::for_chunks(self.count_chunks().await?, &*self.entropy);
        self.in_flight.each_chunk(|chunk| marks.add(chunk));
        let mut packs = PackUse::default();
        let marked = self.mark(&marks, &mut packs).await?;
        let mut cycle = Cycle { epoch: lease.epoch, ..Cycle::default() };
        cycle.manifests = marked.manifests;
        self.sweep(&lease, (&marks, &marked.spared), options, (&mut packs, &mut cycle)).await?;
        cycle.skipped = marked.skipped;
        let here = self.chunks.list().await?;
        for pack in packs.missing(&here) {
            tracing::error!(%pack, "a pack is missing: bring it back from a backup");
            cycle.packs_missing += 1;
        }
        cycle.compaction = self.compact(&packs, here, options).await?;
        cycle.ended_ms = self.clock.unix_ms();
        if !options.dry_run {
            self.note(&lease, &cycle).await?;
        }
        Ok(cycle)
    }

    /// Raises the epoch, which shows that commits whose callers went away are settled.
    async fn begin(&self, options: GcOptions) -> Result<state::Lease> {
        if options.dry_run {
            return Ok(state::Lease { epoch: self.epoch() + 1, version: None });
        }
        let left = self.in_flight.left();
        let lease = state::raise(self).await?;
        self.epoch.store(lease.epoch, Ordering::SeqCst);
        self.in_flight.release(left);
        Ok(lease)
    }
}

#[cfg(test)]
mod tests;
