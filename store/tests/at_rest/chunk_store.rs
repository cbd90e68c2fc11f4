//! What every chunk store promises, and how the local one behaves when the disk fails.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering::SeqCst},
};

use crate::sample::Sample;
use readvault_ambient::Entropy;
use readvault_store::{
    ErrorKind,
    chunk_store::{
        ChunkStore, Extent, LocalChunkStore, MemoryChunkStore, NullChunkStore, PACK_BYTES_MAX,
        PACK_ENTRIES_MAX, PackPlace, StoreParams,
    },
    disk::{
        LocalDisk,
        observed::{ObservedDisk, Observer, Operation, Verdict},
    },
    ids::{ManifestId, PackId, WriterId},
    pack::{Batch, PackEnd, RecordName, SealedRecord, read_pack},
};

fn params(sample: &Sample) -> StoreParams {
    let entropy: Arc<dyn Entropy> = sample.entropy.clone();
    let writer = WriterId::draw(&*entropy);
    StoreParams { vault_key: sample.vault_key.clone(), writer, entropy }
}

fn batch(sample: &Sample, lengths: &[usize]) -> Batch {
    let records = lengths.iter().map(|length| {
        let sealed = sample.chunk(&Sample::body(*length)).1;
        SealedRecord::from(&sealed)
    });
    Batch { records: records.collect(), ..Batch::default() }
}

fn voids(count: usize) -> Batch {
    Batch { voids: vec![ManifestId([1; 16]); count], ..Batch::default() }
}

/// The promise of every store that keeps what it is given.
async fn keeps(store: &dyn ChunkStore, sample: &Sample) {
    let mut kept = Vec::new();
    for lengths in [&[1][..], &[], &[5000, 70_000, 262_144], &[9; 40]] {
        let batch = batch(sample, lengths);
        let receipt = store.append(batch.clone()).await.unwrap();
        assert_eq!(receipt.extents().len(), batch.records.len());
        kept.extend(receipt.extents().iter().copied().zip(batch.records));
    }
    for (extent, record) in &kept {
        assert_eq!(store.read(*extent).await.unwrap(), record.bytes());
        let part = Extent { offset: extent.offset + 7, length: 11, ..*extent };
        assert_eq!(store.read(part).await.unwrap(), record.bytes().slice(7..18));
    }
    let (last, _) = kept.last().unwrap();
    let beyond = Extent { length: 1 << 20, ..*last };
    assert_eq!(store.read(beyond).await.unwrap_err().kind(), ErrorKind::Corrupt);
    let nowhere = Extent { pack: PackId([0; 16]), ..*last };
    assert_eq!(store.read(nowhere).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.append(voids(70_000)).await.unwrap_err().kind(), ErrorKind::LimitExceeded);
}

#[tokio::test]
async fn memory_keeps_batches() {
    let sample = Sample::new(30);
    let store = MemoryChunkStore::new(params(&sample));
    keeps(&store, &sample).await;
    assert_eq!(read_pack(&store.pack_bytes(), &sample.vault_key).unwrap().batches.len(), 4);
}

#[tokio::test]
async fn local_keeps_batches_over_restarts() {
    let sample = Sample::new(31);
    let directory = tempfile::tempdir().unwrap();
    let packs = directory.path().join("packs");
    let store = LocalChunkStore::open(&packs, params(&sample)).unwrap();
    keeps(&store, &sample).await;
    let last = store.append(batch(&sample, &[77])).await.unwrap().extents()[0];
    store.close().await.unwrap();
    let refused = store.append(Batch::default()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);

    let again = LocalChunkStore::open(&packs, params(&sample)).unwrap();
    assert_eq!(again.read(last).await.unwrap().len(), last.length as usize);
    assert_eq!(again.packs().unwrap(), [last.pack]);
    let contents = again.contents(last.pack).await.unwrap();
    assert_eq!(again.summary(last.pack).await.unwrap(), contents, "the footer tells the same");
    assert_eq!((contents.end, contents.batches.len()), (PackEnd::Closed, 5));
    let other = again.append(batch(&sample, &[5])).await.unwrap().extents()[0];
    assert_ne!(other.pack, last.pack, "a start writes packs of its own");

    let file = packs.join(format!("{}.pack", last.pack));
    let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    assert_eq!(again.footer(last.pack).await.unwrap(), None);
    assert_eq!(again.summary(last.pack).await.unwrap().batches.len(), 5, "walked instead");
}

#[tokio::test]
async fn a_pack_is_closed_before_it_has_too_many_entries() {
    let sample = Sample::new(36);
    let directory = tempfile::tempdir().unwrap();
    let store = LocalChunkStore::open(directory.path(), params(&sample)).unwrap();
    for count in [PACK_ENTRIES_MAX / 2, PACK_ENTRIES_MAX / 2 - 1, 1, 1] {
        let _durable = store.append(voids(count)).await.unwrap();
    }
    let mut entries = Vec::new();
    for pack in store.list().await.unwrap() {
        let batches = store.contents(pack.pack).await.unwrap().batches;
        let count: usize = batches.iter().map(|batch| batch.index.voids.len()).sum();
        entries.push((pack.open, count));
    }
    entries.sort_unstable();
    assert_eq!(entries, [(false, PACK_ENTRIES_MAX), (true, 1)]);
    let closed = store.list().await.unwrap().into_iter().filter(|pack| !pack.open);
    let closed: Vec<_> = closed.map(|pack| pack.pack).collect();
    assert_eq!((store.take_closed(), store.take_closed()), (closed, vec![]), "told once");
    store.close().await.unwrap();
    assert_eq!(store.take_closed().len(), 1, "the end closes the last one");
}

#[tokio::test]
async fn null_keeps_nothing() {
    let sample = Sample::new(32);
    let store = NullChunkStore::new(params(&sample));
    let extent = store.append(batch(&sample, &[5000])).await.unwrap().extents()[0];
    assert_eq!(store.read(extent).await.unwrap_err().kind(), ErrorKind::NotFound);
}

/// Counts syncs, holds them back for a while, and fails the chosen step of a writer.
#[derive(Debug, Default)]
struct Faults {
    /// Steps until one fails; never, below zero.
    until_failure: AtomicI64,
    syncs: AtomicU64,
    sync_ms: AtomicU64,
}

const NO_SPACE: i32 = 28;

impl Observer for Faults {
    fn begin(&self, operation: &Operation<'_>) -> Verdict {
        let steps = matches!(
            operation,
            Operation::Create(_)
                | Operation::SyncDirectory(_)
                | Operation::Write { .. }
                | Operation::Sync(_)
        );
        if steps && self.until_failure.fetch_sub(1, SeqCst) == 1 {
            return Verdict::Fail(NO_SPACE);
        }
        if matches!(operation, Operation::Sync(_)) {
            self.syncs.fetch_add(1, SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(self.sync_ms.load(SeqCst)));
        }
        match operation {
            // Short writes are the rule, not the exception.
            Operation::Write { .. } => Verdict::Short(40_000),
            _ => Verdict::Go(0),
        }
    }

    fn end(&self, _: &Operation<'_>, _: u64) {}
}

fn faulty(sample: &Sample) -> (tempfile::TempDir, Arc<LocalChunkStore>, Arc<Faults>) {
    let directory = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let disk = Arc::new(ObservedDisk::new(Arc::new(LocalDisk), faults.clone()));
    let place =
        PackPlace { disk, directory: directory.path().into(), pack_bytes_max: PACK_BYTES_MAX };
    let store = LocalChunkStore::open_at(place, params(sample)).unwrap();
    (directory, Arc::new(store), faults)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_wait_share_a_sync() {
    let sample = Sample::new(33);
    let (_directory, store, faults) = faulty(&sample);
    faults.sync_ms.store(20, SeqCst);
    let waiting = (0..64).map(|i| {
        let (store, batch) = (store.clone(), batch(&sample, &[100 + i]));
        tokio::spawn(async move { store.append(batch).await.unwrap().extents()[0] })
    });
    let waiting: Vec<_> = waiting.collect();
    let mut extents = Vec::new();
    for waiting in waiting {
        extents.push(waiting.await.unwrap());
    }
    let syncs = faults.syncs.load(SeqCst);
    assert!(syncs <= 8, "{syncs} syncs for 64 batches");
    extents.sort_by_key(|extent| extent.offset);
    extents.dedup();
    assert_eq!(extents.len(), 64);
}

/// Fails each write and sync in turn: what was acknowledged stays readable, what failed is voided,
/// and no pack is appended to after a failure.
#[tokio::test]
async fn any_failed_step_poisons_the_pack_and_voids_what_failed() {
    for failing in 1..=12 {
        let sample = Sample::new(34);
        let (_directory, store, faults) = faulty(&sample);
        let mut kept = Vec::new();
        let mut failed = Vec::new();
        faults.until_failure.store(failing, SeqCst);
        for i in 0..6 {
            let manifest = sample.inline(&Sample::body(100 + i));
            let record = SealedRecord::from(&manifest);
            let batch = Batch { records: vec![record.clone()], ..Batch::default() };
            match store.append(batch).await {
                Ok(receipt) => kept.push((receipt.extents()[0], record)),
                Err(cause) => {
                    assert_eq!(cause.kind(), ErrorKind::NoSpace, "step {failing}");
                    failed.push(manifest.id());
                }
            }
        }
        assert_eq!(failed.len(), 1, "step {failing}");
        assert!(
            store.take_closed().is_empty(),
            "step {failing}: a pack that was given up isn't closed"
        );
        for (extent, record) in &kept {
            assert_eq!(store.read(*extent).await.unwrap(), record.bytes(), "step {failing}");
        }
        let mut live = std::collections::HashSet::new();
        let mut voids = Vec::new();
        let mut hashes = std::collections::HashMap::new();
        for pack in store.packs().unwrap() {
            let Ok(contents) = store.contents(pack).await else { continue };
            for batch in contents.batches {
                hashes.insert(batch.hash, batch.index.previous);
                voids.extend(batch.index.voids);
                live.extend(batch.index.records.iter().filter_map(|record| match record.name {
                    RecordName::Manifest(id) => Some(id),
                    RecordName::Chunk(..) => None,
                }));
            }
        }
        assert_eq!(voids, failed, "step {failing}");
        live.retain(|manifest| !voids.contains(manifest));
        assert_eq!(live.len(), kept.len(), "step {failing}");
    }
}
