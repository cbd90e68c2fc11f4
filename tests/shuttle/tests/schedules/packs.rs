//! The group appender of the local store, and its descriptors.

use std::{
    collections::BTreeSet,
    io::{self, IoSlice},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
};

use bytes::Bytes;
use readvault_store::{
    ErrorKind,
    chunk_store::{ChunkStore, Extent, LocalChunkStore, PackPlace, StoreParams},
    disk::{Disk, DiskFile, OpenAs, memory::MemoryDisk},
    ids::{ManifestId, WriterId},
    pack::{Batch, PackEnd, RecordName, SealedRecord},
};
use shuttle::{
    future::{block_on, spawn},
    rand::Rng,
};

use crate::{check, sample::Sample};

/// Writers that append at once, and batches of each.
const WRITERS: usize = 3;
const BATCHES: usize = 2;

/// Bytes at which a pack is closed, so that some schedules close one.
const PACK_BYTES_MAX: u64 = 6 << 10;

/// Writes, syncs and new files of one schedule, at most; one of them fails, or none.
const STEPS_MAX: i64 = 24;

/// A disk of which the chosen write, sync or new file fails.
#[derive(Clone, Debug)]
struct Faulty {
    under: MemoryDisk,
    until_failure: Arc<AtomicI64>,
}

#[derive(Debug)]
struct FaultyFile(Box<dyn DiskFile>, Arc<AtomicI64>);

fn step(until_failure: &AtomicI64) -> io::Result<()> {
    match until_failure.fetch_sub(1, SeqCst) {
        1 => Err(io::ErrorKind::StorageFull.into()),
        _ => Ok(()),
    }
}

impl Disk for Faulty {
    fn open(&self, path: &Path, how: OpenAs) -> io::Result<Box<dyn DiskFile>> {
        if how == OpenAs::New {
            step(&self.until_failure)?;
        }
        Ok(Box::new(FaultyFile(self.under.open(path, how)?, self.until_failure.clone())))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.under.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.under.link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.under.remove(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        self.under.list(directory)
    }

    fn make_directory(&self, directory: &Path) -> io::Result<()> {
        self.under.make_directory(directory)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        step(&self.until_failure)?;
        self.under.sync_directory(directory)
    }
}

impl DiskFile for FaultyFile {
    fn write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        step(&self.1)?;
        self.0.write_vectored(pieces)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        step(&self.1)?;
        self.0.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        step(&self.1)?;
        self.0.sync_data()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn read_cached_at(&self, _buffer: &mut [u8], _offset: u64) -> io::Result<bool> {
        Ok(false)
    }

    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
}

/// A batch of one manifest.
fn batch(sample: &Sample, number: usize) -> (ManifestId, Batch) {
    let manifest = sample.inline(&Sample::body(100 + number));
    let records = vec![SealedRecord::from(&manifest)];
    (manifest.id(), Batch { records, ..Batch::default() })
}

/// What became of one batch.
enum Appended {
    Kept(Extent, Bytes),
    Failed(ManifestId),
}

async fn append(store: Arc<LocalChunkStore>, batches: Vec<(ManifestId, Batch)>) -> Vec<Appended> {
    let mut done = Vec::new();
    for (id, batch) in batches {
        let bytes = batch.records[0].bytes().clone();
        match store.append(batch).await {
            Ok(receipt) => {
                let extent = receipt.extents()[0];
                assert_eq!(store.read(extent).await.unwrap(), bytes, "read while others write");
                done.push(Appended::Kept(extent, bytes));
            }
            Err(cause) => {
                assert_eq!(cause.kind(), ErrorKind::NoSpace);
                done.push(Appended::Failed(id));
            }
        }
    }
    done
}

/// Whatever fails and whoever waits together: what was acknowledged is kept, once; what failed is void; and
/// no pack goes on after a failure.
#[test]
fn batches_appended_at_once_are_kept_or_void() {
    check("append", || {
        let sample = Sample::new(7);
        let until_failure =
            Arc::new(AtomicI64::new(shuttle::rand::thread_rng().gen_range(0..STEPS_MAX)));
        let disk = Faulty { under: MemoryDisk::default(), until_failure: until_failure.clone() };
        let writer = WriterId::draw(&*sample.entropy);
        let params = StoreParams {
            vault_key: sample.vault_key.clone(),
            writer,
            entropy: sample.entropy.clone(),
        };
        let place = PackPlace {
            disk: Arc::new(disk),
            directory: "/packs".into(),
            pack_bytes_max: PACK_BYTES_MAX,
        };
        let store = Arc::new(LocalChunkStore::open_at(place, params).unwrap());
        let mut writers = Vec::new();
        for writer in 0..WRITERS {
            let batches = (0..BATCHES).map(|n| batch(&sample, writer * BATCHES + n)).collect();
            writers.push(spawn(append(store.clone(), batches)));
        }
        let done: Vec<_> =
            writers.into_iter().flat_map(|writer| block_on(writer).unwrap()).collect();
        // A void is written with the next batch that succeeds.
        until_failure.store(0, SeqCst);
        let (_, last) = batch(&sample, 99);
        let _kept = block_on(store.append(last)).unwrap();
        block_on(store.close()).unwrap();
        block_on(look(&store, &done));
    });
}

async fn look(store: &LocalChunkStore, done: &[Appended]) {
    let (mut void, mut open, mut at) = (BTreeSet::new(), 0, BTreeSet::new());
    for pack in store.packs().unwrap() {
        let contents = store.contents(pack).await.unwrap();
        open += usize::from(contents.end != PackEnd::Closed);
        for batch in contents.batches {
            void.extend(batch.index.voids);
            for record in batch.index.records {
                let RecordName::Manifest(_) = record.name else { panic!("a manifest") };
                at.insert((pack, record.offset, record.length));
            }
        }
    }
    let mut failed = BTreeSet::new();
    for appended in done {
        match appended {
            Appended::Kept(extent, bytes) => {
                assert_eq!(store.read(*extent).await.unwrap(), bytes);
                let place = (extent.pack, extent.offset, extent.length);
                assert!(at.remove(&place), "each is indexed, at a place of its own");
            }
            Appended::Failed(id) => assert!(failed.insert(*id)),
        }
    }
    assert_eq!(void, failed, "what failed is void, nothing else");
    assert!(open <= 2, "the pack that failed is left, and one whose footer did");
}
