//! Scrubbing: reading what is stored before somebody needs it.
//!
//! Every byte of every pack is checked against its checksums, which needs no key; every row of a chunk or manifest
//! must name a pack that is here; of a sample of files every chunk is opened and its name computed again. What
//! fails is mended from a second copy where there is one,
//! else quarantined: its next upload replaces it, and meanwhile reads of it fail with its place.

mod keyed;
mod mend;
mod missing;
mod records;
mod state;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use state::Standing;

use super::Inner;
use crate::{
    ErrorKind, Result,
    chunk_store::PackInfo,
    ids::{ManifestId, PackId},
    pack::RecordName,
};

/// How a scrub is run.
#[derive(Clone, Copy, Debug)]
pub struct ScrubOptions {
    /// Most bytes a second that are read; as fast as it goes when none.
    pub bytes_a_second: Option<u64>,
    /// Share of files, in percent, of which every chunk is opened with its key.
    pub open_percent: u8,
    /// Whether packs that an interrupted scrub has read are passed over.
    pub resume: bool,
}

impl Default for ScrubOptions {
    fn default() -> Self {
        Self { bytes_a_second: None, open_percent: 1, resume: true }
    }
}

/// What a scrub found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Scrub {
    /// Milliseconds since 1970 at which it ended; 0 while it runs.
    pub ended_ms: u64,
    /// Packs that were read.
    pub packs: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Records that were checked.
    pub records: u64,
    /// Chunks that were opened with their keys.
    pub opened: u64,
    /// Files that could not be opened because their key is disabled or erased.
    pub closed_files: u64,
    /// Records that are damaged and that something refers to, mended or not.
    pub damaged: u64,
    /// Of these, those that were mended from a second copy.
    pub mended: u64,
    /// The first places of damage, at most [`PLACES_MAX`].
    pub places: Vec<Damage>,
}

/// Places of damage that a report names.
pub const PLACES_MAX: usize = 100;

/// One place of damage.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Damage {
    /// The pack.
    pub pack: PackId,
    /// Where in the pack the damage begins, or the record that holds it.
    pub offset: u64,
    /// What lies there.
    pub what: Damaged,
}

/// What is damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Damaged {
    /// A chunk that something refers to; quarantined, or mended.
    Chunk,
    /// The manifest of a file that something refers to.
    Manifest(ManifestId),
    /// A record that nothing refers to, or bytes between records: nobody misses them.
    Dead,
    /// The index of a batch, which the pack's footer repeats, the pack's header or footer, or a stretch that can't
    /// be read.
    Frame,
}

impl Damaged {
    fn of(name: RecordName) -> Self {
        match name {
            RecordName::Chunk(..) => Self::Chunk,
            RecordName::Manifest(id) => Self::Manifest(id),
        }
    }
}

impl Scrub {
    fn found(&mut self, damage: Damage) {
        tracing::error!(pack = %damage.pack, offset = damage.offset, what = ?damage.what, "damage");
        if matches!(damage.what, Damaged::Chunk | Damaged::Manifest(_)) {
            self.damaged += 1;
        }
        if self.places.len() < PLACES_MAX {
            self.places.push(damage);
        }
    }
}

impl Inner {
    /// One scrub over all packs; `told` hears how far it is after each pack.
    pub(super) async fn scrub(
        &self,
        options: ScrubOptions,
        told: &(dyn Fn(&Scrub) + Send + Sync),
    ) -> Result<Scrub> {
        let mut standing = state::load(self, options.resume).await?;
        let mut packs = self.chunks.list().await?;
        packs.sort_by_key(|pack| pack.pack);
        packs.retain(|pack| standing.done.is_none_or(|done| pack.pack > done));
        let pace = Pace::new(self, options.bytes_a_second);
        for pack in packs {
            self.scrub_one(pack, &mut standing, &pace).await?;
            told(&standing.scrub);
        }
        self.scrub_missing(&mut standing.scrub).await?;
        self.open_sample(options.open_percent, &mut standing.scrub, &pace).await?;
        standing.scrub.ended_ms = self.clock.unix_ms();
        state::finish(self, &standing.scrub).await?;
        Ok(standing.scrub)
    }

    async fn scrub_one(
        &self,
        pack: PackInfo,
        standing: &mut Standing,
        pace: &Pace<'_>,
    ) -> Result<()> {
        let _one_at_a_time = self.upkeep.lock().await;
        match self.scrub_pack(pack, &mut standing.scrub, pace).await {
            Ok(()) => {
                standing.scrub.packs += 1;
                standing.done = Some(pack.pack);
                state::keep(self, standing).await
            }
            // Compacted away meanwhile.
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(()),
            Err(cause) => Err(cause),
        }
    }
}

/// Holds a scrub to its rate.
struct Pace<'a> {
    inner: &'a Inner,
    bytes_a_second: Option<u64>,
}

impl<'a> Pace<'a> {
    fn new(inner: &'a Inner, bytes_a_second: Option<u64>) -> Self {
        Self { inner, bytes_a_second: bytes_a_second.map(|rate| rate.max(1)) }
    }

    /// The time now, to be given to [`Pace::rest`].
    fn now(&self) -> Duration {
        self.inner.clock.monotonic()
    }

    /// Waits as long as reading `bytes` since `began` was too fast.
    async fn rest(&self, bytes: u64, began: Duration) {
        let Some(rate) = self.bytes_a_second else { return };
        let due = Duration::from_micros(bytes.saturating_mul(1_000_000) / rate);
        let took = self.now().saturating_sub(began);
        if due > took {
            tokio::time::sleep(due - took).await;
        }
    }
}

#[cfg(test)]
mod tests;
