//! How many bytes of each pack still live.

use std::collections::{HashMap, HashSet};

use crate::Result;
use crate::{
    chunk_store::{ChunkStore, PackInfo},
    ids::PackId,
};

/// Bytes of records that rows name, by pack. A pack takes 24 bytes here, for up to 1 GiB that it keeps.
#[derive(Debug, Default)]
pub(super) struct PackUse(HashMap<PackId, u64>);

impl PackUse {
    /// A row names a record of so many bytes.
    pub(super) fn add(&mut self, pack: PackId, bytes: u64) {
        *self.0.entry(pack).or_default() += bytes;
    }

    /// A row that named so many bytes is gone.
    pub(super) fn forget(&mut self, pack: PackId, bytes: u64) {
        if let Some(live) = self.0.get_mut(&pack) {
            *live = live.saturating_sub(bytes);
        }
    }

    /// The packs of which at least `dead_percent` is dead, the emptiest first; never one that is still
    /// written.
    pub(super) async fn candidates(
        &self,
        chunks: &dyn ChunkStore,
        dead_percent: u8,
    ) -> Result<Vec<PackInfo>> {
        let mut packs = chunks.list().await?;
        let dead = |pack: &PackInfo| pack.bytes.saturating_sub(self.live(pack.pack));
        packs.retain(|pack| {
            !pack.open
                && u128::from(dead(pack)) * 100 >= u128::from(pack.bytes) * u128::from(dead_percent)
        });
        packs.sort_by_key(|pack| self.live(pack.pack));
        Ok(packs)
    }

    /// The packs that rows name and that are not here.
    pub(super) async fn missing(&self, chunks: &dyn ChunkStore) -> Result<Vec<PackId>> {
        let here: HashSet<_> = chunks.list().await?.into_iter().map(|pack| pack.pack).collect();
        Ok(self
            .0
            .iter()
            .filter(|(pack, live)| **live > 0 && !here.contains(*pack))
            .map(|(pack, _)| *pack)
            .collect())
    }

    /// Bytes of the records in `pack` that rows name.
    pub(super) fn live(&self, pack: PackId) -> u64 {
        self.0.get(&pack).copied().unwrap_or(0)
    }
}
