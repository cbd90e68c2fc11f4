//! Tests: what upkeep and starts do about packs that decay under them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::TryStreamExt;
use parking_lot::Mutex;
use readvault_ambient::{System, testing::ManualClock};

use super::{
    Damaged, DomainChoice, GcOptions, Scrub, ScrubOptions, Store, VaultCommit,
    bench::{Bench, noise},
    conformance::{Parts, Running},
    unsettled,
};
use crate::{
    ErrorKind,
    catalog::memory::MemoryCatalog,
    chunk_store::ChunkStore,
    disk::{
        Disk, OpenAs,
        memory::MemoryDisk,
        observed::{ObservedDisk, Observer, Operation, Verdict},
    },
    ids::{ManifestId, PackId},
    keys::MemoryKeyProvider,
    pack::{Batch, RecordName},
};

/// The file whose reads fail, and how many of them succeed before.
#[derive(Debug, Default)]
struct BadSector(Mutex<Option<(PathBuf, u32)>>);

impl Observer for BadSector {
    fn begin(&self, operation: &Operation<'_>) -> Verdict {
        const EIO: i32 = 5;
        let mut bad = self.0.lock();
        match (operation, &mut *bad) {
            (Operation::Read(path), Some((of, left))) if path == of => match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => return Verdict::Fail(EIO),
            },
            _ => {}
        }
        Verdict::Go(0)
    }

    fn end(&self, _: &Operation<'_>, _: u64) {}
}

/// A disk in memory, and what else outlives the vaults on it.
struct Decay {
    files: MemoryDisk,
    bad: Arc<BadSector>,
    catalog: Arc<MemoryCatalog>,
    provider: Arc<MemoryKeyProvider>,
    pack_bytes: u64,
}

impl Decay {
    fn new(pack_bytes: u64) -> Self {
        let provider = Arc::new(MemoryKeyProvider::new(Arc::new(System)));
        let (files, bad, catalog) = (MemoryDisk::default(), Arc::default(), Arc::default());
        Self { files, bad, catalog, provider, pack_bytes }
    }

    async fn start(&self) -> Running {
        let parts = Parts {
            disk: Arc::new(ObservedDisk::new(Arc::new(self.files.clone()), self.bad.clone())),
            directory: "/vault".into(),
            pack_bytes_max: self.pack_bytes,
            provider: self.provider.clone(),
            clock: Arc::new(ManualClock::at(0)),
            entropy: Arc::new(System),
        };
        parts.start(|_| Ok(self.catalog.clone())).await.unwrap()
    }

    async fn store(running: &Running) -> Store {
        running.vault.create_store("123456789012", DomainChoice::Own).await.unwrap()
    }

    fn bench(&self, running: &Running, store: &Store) -> Bench {
        let (catalog, provider) = (self.catalog.clone(), self.provider.clone());
        Bench::of(running.vault.clone(), catalog, provider, store.clone())
    }

    fn fail_reads(&self, pack: PackId, succeed: u32) {
        *self.bad.0.lock() = Some((path(pack), succeed));
    }

    fn mend(&self) {
        *self.bad.0.lock() = None;
    }
}

fn path(pack: PackId) -> PathBuf {
    Path::new("/vault/packs").join(format!("{pack}.pack"))
}

async fn compact(bench: &Bench) -> super::Cycle {
    let options = GcOptions { dead_percent: 1, dry_run: false };
    let mut cycles = Vec::new();
    for _ in 0..3 {
        cycles.push(bench.vault.collect_garbage(options).await.unwrap());
    }
    cycles.pop().unwrap()
}

async fn scrub(bench: &Bench) -> Scrub {
    let options = ScrubOptions { open_percent: 100, resume: false, ..ScrubOptions::default() };
    bench.vault.scrub(options, &|_| {}).await.unwrap()
}

/// The packs that hold records of such names, in the order in which they were written.
async fn packs_of(running: &Running, wanted: impl Fn(RecordName) -> bool) -> Vec<PackId> {
    let mut found = Vec::new();
    for pack in running.chunks.packs().unwrap() {
        for batch in running.chunks.contents(pack).await.unwrap().batches {
            if batch.index.records.iter().any(|one| wanted(one.name)) {
                found.push((batch.index.sequence, pack));
            }
        }
    }
    found.sort_unstable();
    found.into_iter().map(|(_, pack)| pack).collect()
}

fn is_chunk(name: RecordName) -> bool {
    matches!(name, RecordName::Chunk(..))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_a_start_could_not_read_whole_is_read_by_the_next() {
    let decay = Decay::new(1 << 20);
    let first = decay.start().await;
    for id in [1, 2, 3] {
        let batch = Batch { voids: vec![ManifestId([id; 16])], ..Batch::default() };
        let _durable = first.chunks.append(batch).await.unwrap();
    }
    let packs = first.chunks.packs().unwrap();
    decay.files.lose_power(0);
    decay.fail_reads(packs[0], 4);
    for left in [1, 0] {
        let again = decay.start().await;
        assert_eq!(unsettled(&*decay.catalog, packs.clone()).await.unwrap().len(), left);
        decay.files.lose_power(0);
        decay.mend();
        drop(again);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_stays_while_rows_name_records_that_no_index_tells_of() {
    let decay = Decay::new(1 << 20);
    let first = decay.start().await;
    let store = Decay::store(&first).await;
    let bench = decay.bench(&first, &store);
    let dead = bench.put(&noise(300_000)).await;
    bench.delete(&dead).await;
    let kept = bench.put(&noise(50_000)).await;
    let [pack] = first.chunks.packs().unwrap()[..] else { panic!("one pack") };
    let last = first.chunks.contents(pack).await.unwrap().batches.pop().unwrap();
    decay.files.lose_power(0);
    let file = decay.files.open(&path(pack), OpenAs::Update).unwrap();
    file.write_at(b"rot", last.index.records_end() + 40).unwrap();
    file.sync_data().unwrap();
    let again = decay.start().await;
    let bench = decay.bench(&again, &store);
    let cycle = compact(&bench).await;
    assert_eq!((cycle.compaction.packs_left, cycle.compaction.packs_removed), (1, 0));
    bench.reads_back(&kept).await;
}

/// So few that every batch has a pack of its own.
const BATCH_BYTES: u64 = 64;

#[tokio::test(flavor = "multi_thread")]
async fn one_pack_that_cannot_be_read_keeps_no_upkeep_from_the_others() {
    let decay = Decay::new(BATCH_BYTES);
    let running = decay.start().await;
    let bench = decay.bench(&running, &Decay::store(&running).await);
    let puts = [bench.put(&noise(90_000)).await, bench.put(&noise(90_000)).await];
    let kept = bench.put(&noise(90_000)).await;
    for put in &puts {
        bench.delete(put).await;
    }
    let packs = packs_of(&running, is_chunk).await;
    decay.fail_reads(packs[0], 0);
    let scrubbed = scrub(&bench).await;
    assert_eq!((scrubbed.damaged, scrubbed.places.len()), (0, 1));
    assert_eq!(scrubbed.packs as usize, running.chunks.packs().unwrap().len());
    let cycle = compact(&bench).await;
    let here = running.chunks.packs().unwrap();
    assert_eq!(
        packs.iter().map(|pack| here.contains(pack)).collect::<Vec<_>>(),
        [true, false, true]
    );
    assert_eq!((cycle.compaction.packs_left, cycle.packs_missing), (1, 0));
    decay.mend();
    bench.reads_back(&kept).await;
    compact(&bench).await;
    assert!(!running.chunks.packs().unwrap().contains(&packs[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_is_gone_is_told_of() {
    let decay = Decay::new(BATCH_BYTES);
    let first = decay.start().await;
    let store = Decay::store(&first).await;
    let bench = decay.bench(&first, &store);
    let puts = [bench.put(&noise(90_000)).await, bench.put(&noise(90_000)).await];
    let [gone, _] = packs_of(&first, is_chunk).await[..] else { panic!("two packs of chunks") };
    first.chunks.close().await.unwrap();
    decay.files.remove(&path(gone)).unwrap();
    let again = decay.start().await;
    let bench = decay.bench(&again, &store);
    bench.reads_back(&puts[1]).await;
    let cycle = bench.vault.collect_garbage(GcOptions::default()).await.unwrap();
    assert_eq!(cycle.packs_missing, 1);
    let reader = bench.vault.open_file(&puts[0].file).await.unwrap();
    let read: Result<Vec<_>, _> = reader.stream(0..90_000).try_collect().await;
    assert_eq!(read.unwrap_err().kind(), ErrorKind::Corrupt);
    let scrubbed = scrub(&bench).await;
    assert_eq!((scrubbed.damaged, scrubbed.places[0].pack), (1, gone));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lay_in_a_pack_that_is_gone_is_stored_anew_by_its_next_upload() {
    for under_a_server in [true, false] {
        let decay = Decay::new(BATCH_BYTES);
        let mut running = decay.start().await;
        let store = Decay::store(&running).await;
        let mut bench = decay.bench(&running, &store);
        let lost = bench.put(&noise(90_000)).await;
        let [gone] = packs_of(&running, is_chunk).await[..] else { panic!("one pack of chunks") };
        // Opens every pack.
        bench.vault.packs().await.unwrap();
        if !under_a_server {
            running.chunks.close().await.unwrap();
        }
        decay.files.remove(&path(gone)).unwrap();
        if !under_a_server {
            running = decay.start().await;
            bench = decay.bench(&running, &store);
        }
        let joined =
            bench.vault.assemble(bench.spec().await, std::slice::from_ref(&lost.file)).await;
        assert_eq!(joined.unwrap_err().kind(), ErrorKind::Corrupt);
        let anew = bench.put(&lost.bytes).await;
        running.chunks.close().await.unwrap();
        running = decay.start().await;
        bench = decay.bench(&running, &store);
        bench.reads_back(&anew).await;
        bench.reads_back(&lost).await;
        assert_eq!(scrub(&bench).await.damaged, 0);
    }
}

/// On one thread, so that nothing of the commit happens before its caller goes.
#[tokio::test]
async fn a_removal_whose_caller_goes_away_ends_in_packs_and_catalog_alike() {
    let decay = Decay::new(1 << 20);
    let running = decay.start().await;
    let bench = decay.bench(&running, &Decay::store(&running).await);
    let put = bench.put(&noise(90_000)).await;
    let removes = vec![put.removal.clone()];
    let mut commit =
        Box::pin(bench.vault.commit(VaultCommit { removes, ..VaultCommit::default() }));
    assert!(futures::poll!(&mut commit).is_pending());
    drop(commit);
    let ended = async {
        while bench.vault.open_file(&put.file).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the removal goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_whose_pack_is_gone_is_told_by_a_scrub() {
    let decay = Decay::new(BATCH_BYTES);
    let first = decay.start().await;
    let store = Decay::store(&first).await;
    let put = decay.bench(&first, &store).put(&noise(90_000)).await;
    let manifest = put.file.manifest;
    let [gone] = packs_of(&first, |name| name == RecordName::Manifest(manifest)).await[..] else {
        panic!("one pack of the manifest")
    };
    first.chunks.close().await.unwrap();
    decay.files.remove(&path(gone)).unwrap();
    let again = decay.start().await;
    let scrubbed = scrub(&decay.bench(&again, &store)).await;
    let [place] = &scrubbed.places[..] else { panic!("{scrubbed:?}") };
    assert_eq!((place.pack, place.what), (gone, Damaged::Manifest(manifest)));
}
