//! How many bytes of each pack still live.

use std::collections::{HashMap, HashSet};

use crate::{chunk_store::PackInfo, ids::PackId};

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

    /// Those of `packs` of which at least `dead_percent` is dead, the emptiest first; never one that is still
    /// written.
    pub(super) fn candidates(&self, mut packs: Vec<PackInfo>, dead_percent: u8) -> Vec<PackInfo> {
        let dead = |pack: &PackInfo| pack.bytes.saturating_sub(self.live(pack.pack));
        packs.retain(|pack| {
            !pack.open
                && u128::from(dead(pack)) * 100 >= u128::from(pack.bytes) * u128::from(dead_percent)
        });
        packs.sort_by_key(|pack| self.live(pack.pack));
        packs
    }

    /// The packs that rows name and that are not among those `here`.
    pub(super) fn missing(&self, here: &[PackInfo]) -> Vec<PackId> {
        let here: HashSet<_> = here.iter().map(|pack| pack.pack).collect();
        let named = self.0.iter().filter(|(_, live)| **live > 0).map(|(pack, _)| *pack);
        named.filter(|pack| !here.contains(pack)).collect()
    }

    /// Bytes of the records in `pack` that rows name.
    pub(super) fn live(&self, pack: PackId) -> u64 {
        self.0.get(&pack).copied().unwrap_or(0)
    }
}
