//! A world in memory.

use std::sync::Arc;

use async_trait::async_trait;
use readvault_ambient::{
    Entropy,
    testing::{ManualClock, SeededEntropy},
};

use super::{End, Parts, Running, World};
use crate::{
    Result, catalog::memory::MemoryCatalog, disk::memory::MemoryDisk, keys::MemoryKeyProvider,
};

/// Time at which every world begins, in milliseconds since 1970.
pub(super) const BEGINNING_MS: u64 = 1_800_000_000_000;

/// Bytes at which a pack is closed: few, so that packs are closed and compacted often.
const PACK_BYTES_MAX: u64 = 64 << 10;

/// Files and catalog in memory, with all their faults.
#[derive(Debug)]
pub struct MemoryWorld {
    disk: MemoryDisk,
    catalog: Arc<MemoryCatalog>,
    provider: Arc<MemoryKeyProvider>,
    clock: Arc<ManualClock>,
    entropy: Arc<dyn Entropy>,
}

impl MemoryWorld {
    /// An empty world whose random bytes follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(seed));
        Self {
            disk: MemoryDisk::default(),
            catalog: Arc::new(MemoryCatalog::new()),
            provider: Arc::new(MemoryKeyProvider::new(entropy.clone())),
            clock: Arc::new(ManualClock::at(BEGINNING_MS)),
            entropy,
        }
    }
}

impl MemoryWorld {
    pub(super) fn parts(&self) -> Parts {
        Parts {
            disk: Arc::new(self.disk.clone()),
            directory: "/vault".into(),
            pack_bytes_max: PACK_BYTES_MAX,
            provider: self.provider.clone(),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
        }
    }
}

#[async_trait]
impl World for MemoryWorld {
    async fn start(&self) -> Result<Running> {
        self.parts().start(|_| Ok(self.catalog.clone())).await
    }

    async fn end(&self, running: Running, end: End) {
        match end {
            End::Closed => running.chunks.close().await.expect("the writer ends"),
            End::PowerLost { kept } => {
                self.disk.lose_power(kept);
                self.catalog.lose_power(kept);
            }
        }
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }

    fn provider(&self) -> &MemoryKeyProvider {
        &self.provider
    }

    fn faults(&self) -> Option<&MemoryCatalog> {
        Some(&self.catalog)
    }
}
