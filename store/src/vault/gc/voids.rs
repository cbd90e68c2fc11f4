//! Which voids compaction may drop: those of manifests of which no other pack has a record.
//!
//! A void tells a rebuild that a record before it counts no more. Without such a record it says nothing, and
//! carried from pack to pack for ever the voids of a vault's whole life would come to lie in one.

use std::collections::HashMap;

use crate::{
    Result,
    chunk_store::{ChunkStore, PackInfo},
    ids::{ManifestId, PackId},
    pack::RecordName,
};

/// The closed packs that have a record of a manifest, as far as it matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Holders {
    None,
    One(PackId),
    Many,
}

impl Holders {
    fn add(&mut self, pack: PackId) {
        *self = match *self {
            Self::None => Self::One(pack),
            Self::One(first) if first == pack => return,
            Self::One(_) | Self::Many => Self::Many,
        };
    }
}

/// The manifests that packs call void, and who has their records. Some 50 bytes each.
#[derive(Debug, Default)]
pub(super) struct Voids {
    holders: HashMap<ManifestId, Holders>,
    /// A pack can't be read, or has a damaged stretch: whatever lies there may be a record of any of them.
    unsure: bool,
}

impl Voids {
    /// Those of the packs `going`, looked for in the indexes of all closed packs. A record in the pack that is
    /// still written lies behind these voids, which therefore say nothing of it.
    ///
    /// # Errors
    /// `Unavailable` when the packs can't be listed.
    pub(super) async fn of(chunks: &dyn ChunkStore, going: &[PackInfo]) -> Result<Self> {
        let mut voids = Self::default();
        for pack in going {
            // Without one that can't be read now: nothing is dropped of what was not asked for.
            let Ok(contents) = chunks.summary(pack.pack).await else { continue };
            for batch in contents.batches {
                let ids = batch.index.voids.iter().map(|id| (*id, Holders::None));
                voids.holders.extend(ids);
            }
        }
        if voids.holders.is_empty() {
            return Ok(voids);
        }
        for pack in chunks.list().await?.into_iter().filter(|pack| !pack.open) {
            let Ok(contents) = chunks.summary(pack.pack).await else {
                voids.unsure = true;
                continue;
            };
            voids.unsure |= !contents.is_whole();
            let records = contents.batches.iter().flat_map(|batch| &batch.index.records);
            for record in records {
                if let RecordName::Manifest(id) = record.name
                    && let Some(holders) = voids.holders.get_mut(&id)
                {
                    holders.add(pack.pack);
                }
            }
        }
        Ok(voids)
    }

    /// Whether the void of a manifest must outlive `pack`, in which it stands.
    pub(super) fn outlives(&self, manifest: ManifestId, pack: PackId) -> bool {
        self.unsure
            || match self.holders.get(&manifest) {
                Some(Holders::None) => false,
                Some(Holders::One(holder)) => *holder != pack,
                Some(Holders::Many) | None => true,
            }
    }
}
