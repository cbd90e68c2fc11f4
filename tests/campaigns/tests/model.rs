//! Random sequences of operations against the plain model: on the memory twins, and a share of them on a real
//! disk with RocksDB. `READVAULT_SEQUENCES` and `READVAULT_DISK_SEQUENCES` set how many, `READVAULT_SEED`
//! which.

#![allow(clippy::unwrap_used, reason = "a campaign stops at the first surprise")]

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use parking_lot::Mutex;
use readvault_ambient::{System, testing::ManualClock};
use readvault_campaigns::{place, plan::Plan};
use readvault_store::{
    Result,
    catalog::{Catalog, Table, memory::MemoryCatalog},
    disk::LocalDisk,
    keys::MemoryKeyProvider,
    vault::{
        self,
        conformance::{Campaign, End, MemoryWorld, NAMES_TABLE, Parts, Running, World},
    },
};
use readvault_store_rocks::RocksCatalog;

/// Operations of a sequence.
const STEPS: usize = 60;

/// Sequences in memory, of an ordinary run and of a long one.
const IN_MEMORY: [u64; 2] = [300, 20_000];

/// Sequences on disk.
const ON_DISK: [u64; 2] = [12, 500];

/// Threads that share the sequences.
const THREADS: u64 = 2;

/// Time at which every world begins, in milliseconds since 1970.
const BEGINNING_MS: u64 = 1_800_000_000_000;

/// Bytes at which a pack is closed.
const PACK_BYTES_MAX: u64 = 64 << 10;

#[test]
fn sequences_in_memory_do_as_the_model_does() {
    run("model_memory", ("READVAULT_SEQUENCES", IN_MEMORY), MemoryWorld::new);
}

#[test]
fn sequences_on_disk_do_as_the_model_does() {
    run("model_disk", ("READVAULT_DISK_SEQUENCES", ON_DISK), |_| DiskWorld::new());
}

fn run<W: World>(
    name: &'static str,
    (variable, [short, long]): (&str, [u64; 2]),
    make: impl Fn(u64) -> W + Sync,
) {
    let plan = Plan::new(name);
    let count = plan.count(variable, short, long).div_ceil(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let make = &make;
            scope.spawn(move || {
                let seed = plan.seed.wrapping_add(thread.wrapping_mul(0x9e37_79b9));
                let sequences = u32::try_from(count).unwrap();
                Campaign { seed, sequences, steps: STEPS }.run(make);
            });
        }
    });
    let sequences = count * THREADS;
    plan.report(format_args!("{sequences} sequences of {STEPS} operations"), 0);
}

/// A directory, RocksDB and real packs. Losing power leaves a copy of the directory as it is then: what the
/// process wrote, synced or not.
struct DiskWorld {
    place: tempfile::TempDir,
    lives: Mutex<u32>,
    provider: Arc<MemoryKeyProvider>,
    clock: Arc<ManualClock>,
}

impl DiskWorld {
    fn new() -> Self {
        Self {
            place: place::directory().unwrap(),
            lives: Mutex::new(0),
            provider: Arc::new(MemoryKeyProvider::new(Arc::new(System))),
            clock: Arc::new(ManualClock::at(BEGINNING_MS)),
        }
    }

    fn directory(&self) -> PathBuf {
        self.place.path().join(format!("life-{}", self.lives.lock()))
    }
}

#[async_trait]
impl World for DiskWorld {
    async fn start(&self) -> Result<Running> {
        let directory = self.directory();
        std::fs::create_dir_all(&directory).unwrap();
        let parts = Parts {
            disk: Arc::new(LocalDisk),
            directory: directory.clone(),
            pack_bytes_max: PACK_BYTES_MAX,
            provider: self.provider.clone(),
            clock: self.clock.clone(),
            entropy: Arc::new(System),
        };
        let open = |sealer| {
            let tables: Vec<Table> = vault::TABLES.iter().copied().chain([NAMES_TABLE]).collect();
            let (place, entropy) = (directory.join("catalog"), Arc::new(System));
            let catalog = RocksCatalog::open(&place, &tables, Arc::new(sealer), entropy)?;
            Ok(Arc::new(catalog) as Arc<dyn Catalog>)
        };
        parts.start(open).await
    }

    async fn end(&self, running: Running, end: End) {
        if end == End::Closed {
            return running.chunks.close().await.unwrap();
        }
        let before = self.directory();
        *self.lives.lock() += 1;
        place::copy_at_rest(&before, &self.directory()).unwrap();
        drop(running);
        std::fs::remove_dir_all(before).unwrap();
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }

    fn provider(&self) -> &MemoryKeyProvider {
        &self.provider
    }

    fn faults(&self) -> Option<&MemoryCatalog> {
        None
    }
}
