use std::sync::Arc;

use futures::{FutureExt, TryStreamExt};
use parking_lot::Mutex;

use super::*;
use crate::{
    ErrorKind,
    catalog::{Catalog, Commit, Write, memory::Call},
    chunk::ChunkId,
    keys::Available,
    pack::{BatchIndex, RecordName},
    vault::{
        CHUNKS, FileRef, MANIFESTS, Removal,
        bench::{Bench, Put, noise},
        in_flight::{ChunkMark, InFlight},
    },
};

impl Bench {
    async fn collect(&self) -> Cycle {
        self.vault.collect_garbage(GcOptions::default()).await.unwrap()
    }

    /// What `tell` makes of the calls of the catalog from now on, and of what is in flight meanwhile.
    fn watched(&self, tell: fn(Call<'_>, &InFlight) -> Option<bool>) -> Arc<Mutex<Vec<bool>>> {
        let (told, in_flight) = (Arc::default(), self.vault.inner.in_flight.clone());
        let here: Arc<Mutex<Vec<bool>>> = Arc::clone(&told);
        self.catalog.watch(move |call| here.lock().extend(tell(call, &in_flight)));
        told
    }

    async fn rows(&self) -> u64 {
        self.vault.inner.count_chunks().await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_names_goes_after_two_epochs_and_the_rest_stays() {
    let bench = Bench::new().await;
    let (kept, gone) = (bench.put(&noise(300_000)).await, bench.put(&noise(300_000)).await);
    let twin = bench.put(&gone.bytes.slice(..)).await;
    bench.delete(&twin).await;
    assert_eq!(bench.rows().await, 2);
    bench.delete(&gone).await;
    assert_eq!(bench.collect().await.chunks_dropped, 0, "too young");
    let cycle = bench.collect().await;
    assert_eq!((cycle.chunks_dropped, cycle.chunks_kept, cycle.epoch), (1, 1, 3));
    assert_eq!(bench.rows().await, 1);
    bench.reads_back(&kept).await;
    assert_eq!(bench.vault.last_garbage_collection().await.unwrap(), Some(cycle));
    let again = bench.put(&gone.bytes).await;
    bench.reads_back(&again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_packs_go_and_open_readers_follow_what_moves() {
    let bench = Bench::new().await;
    let mut puts = Vec::new();
    for _ in 0..24 {
        puts.push(bench.put(&noise(50_000)).await);
    }
    let readers: Vec<_> = futures::future::join_all(
        puts.iter().map(|put| async { bench.vault.open_file(&put.file).await.unwrap() }),
    )
    .await;
    for put in puts.iter().step_by(2) {
        bench.delete(put).await;
    }
    bench.collect().await;
    let before = bench.vault.inner.chunks.list().await.unwrap();
    let cycle = bench.collect().await;
    let after = bench.vault.inner.chunks.list().await.unwrap();
    assert_eq!(cycle.chunks_dropped, 12);
    assert!(cycle.compaction.packs_removed > 3, "{cycle:?}");
    assert!(cycle.compaction.records_moved > 3 && after.len() < before.len(), "{cycle:?}");
    for (put, reader) in puts.iter().zip(readers).skip(1).step_by(2) {
        assert_eq!(reader.read(0..50_000).await.unwrap(), put.bytes);
        bench.reads_back(put).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_a_file_that_is_deleted_and_swept_is_told_so() {
    let bench = Bench::new().await;
    let put = bench.put(&noise(300_000)).await;
    let reader = bench.vault.open_file(&put.file).await.unwrap();
    bench.delete(&put).await;
    assert_eq!(reader.read(0..300_000).await.unwrap(), put.bytes, "not swept yet");
    bench.collect().await;
    bench.collect().await;
    let streamed = reader.stream(0..300_000).try_collect::<Vec<_>>().await;
    for gone in [reader.read(0..300_000).await.map(drop), streamed.map(drop)] {
        assert_eq!(gone.unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_staged_upload_keeps_its_chunks_over_any_number_of_cycles() {
    let bench = Bench::new().await;
    let bytes = noise(200_000);
    let first = bench.put(&bytes).await;
    let (removal, staged) = bench.stage(&bytes).await;
    let fresh = bench.stage(&noise(100_000)).await;
    bench.delete(&first).await;
    for _ in 0..5 {
        assert_eq!(bench.collect().await.chunks_dropped, 0);
    }
    let put = bench.publish((removal, staged), &bytes).await;
    bench.reads_back(&put).await;
    drop(fresh);
    for _ in 0..2 {
        bench.collect().await;
    }
    assert_eq!(bench.rows().await, 1, "what was never committed goes");
    bench.reads_back(&put).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_is_chosen_again_is_of_the_current_epoch() {
    let bench = Bench::new().await;
    let bytes = noise(100_000);
    let put = bench.put(&bytes).await;
    for _ in 0..3 {
        bench.collect().await;
    }
    bench.delete(&put).await;
    let again = bench.put(&bytes).await;
    assert_eq!(bench.rows().await, 1);
    bench.delete(&again).await;
    assert_eq!(bench.collect().await.chunks_dropped, 0, "chosen one epoch ago");
    assert_eq!(bench.collect().await.chunks_dropped, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_holds_what_its_source_named() {
    let bench = Bench::new().await;
    let source = bench.put(&noise(2_500_000)).await;
    for _ in 0..3 {
        bench.collect().await;
    }
    let spec = bench.spec().await;
    let removal = |file: &FileRef, item| Removal { item, files: vec![file.clone()] };
    let item = spec.item.id;
    let staged = bench.vault.adopt(spec, &source.file).await.unwrap().unwrap();
    bench.delete(&source).await;
    for _ in 0..3 {
        assert_eq!(bench.collect().await.chunks_dropped, 0);
    }
    let removal = removal(staged.file(), item);
    let copy = bench.publish((removal, staged), &source.bytes).await;
    bench.reads_back(&copy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_store_whose_key_is_disabled_is_dropped() {
    let bench = Bench::new().await;
    let (kept, gone) = (bench.put(&noise(80_000)).await, bench.put(&noise(80_000)).await);
    bench.delete(&gone).await;
    bench.collect().await;
    bench.provider.set_available(Available::No);
    bench.vault.inner.keys.forget_open_keys();
    let cycle = bench.collect().await;
    assert_eq!((cycle.chunks_dropped, cycle.skipped.len()), (0, 1));
    bench.provider.set_available(Available::Yes);
    assert_eq!(bench.collect().await.chunks_dropped, 1);
    bench.reads_back(&kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_counts_and_changes_nothing() {
    let bench = Bench::new().await;
    let gone = bench.put(&noise(80_000)).await;
    bench.delete(&gone).await;
    bench.collect().await;
    let dry = GcOptions { dry_run: true, ..GcOptions::default() };
    for _ in 0..2 {
        let cycle = bench.vault.collect_garbage(dry).await.unwrap();
        assert_eq!((cycle.chunks_dropped, bench.rows().await), (1, 1));
    }
    assert_eq!(bench.collect().await.chunks_dropped, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_manifest_stops_the_sweep() {
    let bench = Bench::new().await;
    let put = bench.put(&noise(80_000)).await;
    let row = crate::vault::manifest_row(put.file.manifest);
    let mut commit = Commit::new();
    let found = bench.catalog.read(std::slice::from_ref(&row)).await.unwrap().remove(0).unwrap();
    let mut wrong = crate::manifest::ManifestRow::decode(&found.value).unwrap();
    wrong.offset += 1;
    commit.put(row, wrong.encode());
    assert!(matches!(
        bench.catalog.commit(commit).await.unwrap(),
        crate::catalog::Outcome::Applied { .. }
    ));
    let cause = bench.vault.collect_garbage(GcOptions::default()).await.unwrap_err();
    assert_eq!(cause.kind(), ErrorKind::Corrupt);
}

/// The indexes of all packs.
async fn indexes(bench: &Bench) -> Vec<BatchIndex> {
    let chunks = &bench.vault.inner.chunks;
    let mut indexes = Vec::new();
    for pack in chunks.list().await.unwrap() {
        let batches = chunks.summary(pack.pack).await.unwrap().batches;
        indexes.extend(batches.into_iter().map(|batch| batch.index));
    }
    indexes
}

/// What the packs say of items that ended: tombstones and voids.
async fn said(bench: &Bench) -> (usize, usize) {
    let indexes = indexes(bench).await;
    let tombstones = indexes.iter().map(|index| index.tombstones.len()).sum();
    (tombstones, indexes.iter().map(|index| index.voids.len()).sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn voids_go_once_no_record_is_left_that_they_could_be_of() {
    const PUTS: usize = 40;
    let bench = Bench::new().await;
    let kept = bench.put(&noise(50_000)).await;
    for _ in 0..PUTS {
        let put = bench.put(&noise(20_000)).await;
        bench.delete(&put).await;
    }
    assert_eq!(said(&bench).await, (PUTS, PUTS));
    for _ in 0..6 {
        bench.collect().await;
        // Closes the open pack, in which the voids of the packs before it lie now.
        bench.put(&noise(60_000)).await;
    }
    let (tombstones, voids) = said(&bench).await;
    assert!(tombstones < PUTS / 4 && voids < PUTS / 4, "{tombstones} tombstones, {voids} voids");
    bench.reads_back(&kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_outlives_its_pack_while_a_record_of_its_manifest_stays() {
    let bench = Bench::new().await;
    // The packs of these manifests keep too much that lives to go.
    let mut gone = Vec::new();
    for _ in 0..4 {
        bench.put(&noise(40_000)).await;
        gone.push(bench.put(&noise(100)).await);
    }
    for put in &gone {
        bench.delete(put).await;
    }
    // The rest of the pack of their voids goes.
    let rest = [bench.put(&noise(30_000)).await, bench.put(&noise(30_000)).await];
    for put in &rest {
        bench.delete(put).await;
    }
    for _ in 0..4 {
        bench.collect().await;
        bench.put(&noise(60_000)).await;
    }
    let (mut here, mut void) = (BTreeSet::new(), BTreeSet::new());
    for index in indexes(&bench).await {
        here.extend(index.records.iter().filter_map(|record| match record.name {
            RecordName::Manifest(id) => Some(id),
            RecordName::Chunk(..) => None,
        }));
        void.extend(index.voids);
    }
    let left: Vec<_> = gone.iter().filter(|put| here.contains(&put.file.manifest)).collect();
    assert!(!left.is_empty(), "a record of a manifest that ended is still there");
    assert!(left.iter().all(|put| void.contains(&put.file.manifest)), "and its void with it");
}

/// So few that every batch has a pack of its own.
const BATCH_BYTES: u64 = 64;

#[tokio::test(flavor = "multi_thread")]
async fn the_manifest_of_a_staged_upload_keeps_its_pack() {
    let bench = Bench::with_pack_bytes(BATCH_BYTES).await;
    let bytes = noise(90_000);
    let staged = bench.stage(&bytes).await;
    bench.put(&noise(90_000)).await;
    assert_eq!(bench.collect().await.compaction.packs_left, 1, "no row names what is in it yet");
    let put = bench.publish(staged, &bytes).await;
    bench.reads_back(&put).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_is_noted_before_its_row_is_looked_for() {
    let bench = Bench::new().await;
    let put = bench.put(&noise(80_000)).await;
    let noted = bench.watched(|call, in_flight| {
        let Call::Read([row]) = call else { return None };
        let id = row.key.last_chunk::<32>().filter(|_| row.table == CHUNKS)?;
        let mut noted = false;
        in_flight.each_chunk(|mark| noted |= mark == ChunkMark::from(ChunkId(*id)));
        Some(noted)
    });
    drop(bench.stage(&put.bytes).await);
    assert_eq!(*noted.lock(), [true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_counts_among_the_appends_until_its_commit_is_known() {
    let bench = Bench::new().await;
    let put = bench.put(&noise(80_000)).await;
    let waited_for = bench.watched(|call, in_flight| {
        let Call::Commit(commit) = call else { return None };
        let ends = |write: &Write| matches!(write, Write::Delete(row) if row.table == MANIFESTS);
        let ends = commit.writes.iter().any(ends);
        ends.then(|| in_flight.appends_ended().now_or_never().is_none())
    });
    bench.delete(&put).await;
    assert_eq!(*waited_for.lock(), [true]);
}

/// Uploads of the same few contents, copies and deletions while cycles run one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn uploads_of_equal_chunks_race_with_cycles_and_nothing_dangles() {
    let bench = Arc::new(Bench::new().await);
    let contents: Arc<Vec<_>> = Arc::new((0..4).map(|n| noise(60_000 + n)).collect());
    let workers = (0..6_usize).map(|worker| {
        let (bench, contents) = (bench.clone(), contents.clone());
        tokio::spawn(async move {
            let mut mine = Vec::<Put>::new();
            for turn in 0..120 {
                let bytes = &contents[(worker + turn * 7) % contents.len()];
                let put = bench.put(bytes).await;
                bench.reads_back(&put).await;
                mine.push(put);
                if mine.len() > 2 {
                    let oldest = mine.remove(turn % 2);
                    bench.reads_back(&oldest).await;
                    bench.delete(&oldest).await;
                }
            }
            for put in &mine {
                bench.reads_back(put).await;
                bench.delete(put).await;
            }
        })
    });
    let workers: Vec<_> = workers.collect();
    let collector = tokio::spawn({
        let bench = bench.clone();
        async move {
            let mut cycles = 0;
            loop {
                bench.collect().await;
                cycles += 1;
                if bench.vault.uploads_in_flight() == 0 && cycles > 40 {
                    return;
                }
                tokio::task::yield_now().await;
            }
        }
    });
    for worker in workers {
        worker.await.unwrap();
    }
    collector.await.unwrap();
    bench.collect().await;
    bench.collect().await;
    assert_eq!(bench.rows().await, 0);
}
