//! Cycles of garbage collection beside uploads, removals, copies and readers of the same chunks.

use std::ops::Range;

use readvault_store::{
    ErrorKind,
    ids::ManifestId,
    pack::RecordName,
    vault::{FileRef, GcOptions, Item},
};
use shuttle::future::{block_on, spawn};

use crate::{
    check,
    world::{World, body},
};

/// Any dead byte is reason enough to compact a pack.
const OPTIONS: GcOptions = GcOptions { dead_percent: 1, dry_run: false };

async fn collect(world: World, cycles: usize) {
    for _ in 0..cycles {
        world.vault.collect_garbage(OPTIONS).await.unwrap();
    }
}

/// One uploads a chunk while another removes the last file that names it and a third collects garbage: what
/// was committed reads back, whatever the order, and after more cycles still.
#[test]
fn a_chunk_that_is_chosen_stays_while_its_last_file_goes() {
    check("choose and sweep", || {
        let world = World::new();
        let first = block_on(world.put("first", &body(1))).unwrap();
        // Old enough that the next cycle may drop it.
        block_on(collect(world.clone(), 2));
        let uploading = world.clone();
        let upload = spawn(async move { uploading.put("second", &body(1)).await.unwrap() });
        let removing = world.clone();
        let removal = spawn(async move { removing.remove("first", &first).await });
        let collection = spawn(collect(world.clone(), 2));
        let (file, _) = block_on(upload).unwrap();
        block_on(removal).unwrap();
        block_on(collection).unwrap();
        assert!(block_on(world.read(&file)).unwrap() == body(1));
        block_on(collect(world.clone(), 3));
        assert!(block_on(world.read(&file)).unwrap() == body(1));
    });
}

/// A reader holds a file open while cycles move its records to another pack.
#[test]
fn a_reader_follows_what_is_moved() {
    check("read and compact", || {
        let world = World::new();
        let kept = block_on(world.put("kept", &body(1))).unwrap();
        for byte in 2..4 {
            let gone = block_on(world.put("gone", &body(byte))).unwrap();
            block_on(world.remove("gone", &gone));
        }
        block_on(collect(world.clone(), 2));
        let (reading, file) = (world.clone(), kept.0.clone());
        let reader = spawn(async move {
            for _ in 0..2 {
                assert!(reading.read(&file).await.unwrap() == body(1));
            }
        });
        let collection = spawn(collect(world.clone(), 2));
        block_on(reader).unwrap();
        block_on(collection).unwrap();
        assert!(block_on(world.read(&kept.0)).unwrap() == body(1));
    });
}

/// A file is copied while its source is removed and garbage is collected: the copy is whole, or was refused
/// because the source was gone.
#[test]
fn a_copy_is_whole_or_refused() {
    check("copy and sweep", || {
        let world = World::new();
        let source = block_on(world.put("source", &body(1))).unwrap();
        block_on(collect(world.clone(), 2));
        let (copying, file) = (world.clone(), source.0.clone());
        let copy = spawn(async move {
            match copying.copy("copy", &file).await {
                Ok(copy) => Some(copy),
                Err(cause) => {
                    assert_eq!(cause.kind(), ErrorKind::NotFound, "{cause}");
                    None
                }
            }
        });
        let removing = world.clone();
        let removal = spawn(async move { removing.remove("source", &source).await });
        let collection = spawn(collect(world.clone(), 2));
        let copy = block_on(copy).unwrap();
        block_on(removal).unwrap();
        block_on(collection).unwrap();
        block_on(collect(world.clone(), 2));
        if let Some(copy) = copy {
            assert!(block_on(world.read(&copy)).unwrap() == body(1));
        }
    });
}

/// A vault with the file that is to be removed, and others that stay.
fn first_among(others: Range<u8>) -> (World, (FileRef, Item)) {
    let world = World::new();
    let first = block_on(world.put("first", &body(1))).unwrap();
    for byte in others {
        block_on(world.put(&format!("kept {byte}"), &body(byte))).unwrap();
    }
    (world, first)
}

/// A file is removed while a pack fills up, closes and goes: what the packs say of its end stays as long as a
/// record of its manifest does.
#[test]
fn a_removal_is_not_forgotten() {
    // So much is dead in a pack of which everything ended, and in no other.
    const OPTIONS: GcOptions = GcOptions { dead_percent: 70, dry_run: false };
    check("remove and compact", || {
        let (world, first) = first_among(2..7);
        let manifest = first.0.manifest;
        let removing = world.clone();
        let removal = spawn(async move { removing.remove("first", &first).await });
        let busy = world.clone();
        let others = spawn(async move {
            for byte in 10..16 {
                let gone = busy.put("gone", &body(byte)).await.unwrap();
                busy.remove("gone", &gone).await;
            }
            for _ in 0..3 {
                busy.vault.collect_garbage(OPTIONS).await.unwrap();
            }
        });
        block_on(removal).unwrap();
        block_on(others).unwrap();
        let (here, void) = block_on(said(&world, manifest));
        assert!(void || !here, "a record is left of a manifest that nothing calls void");
    });
}

/// What the packs say last of the manifest: whether they have its record, and whether they call it void behind
/// that.
async fn said(world: &World, manifest: ManifestId) -> (bool, bool) {
    let mut batches = Vec::new();
    for pack in world.chunks.list().await.unwrap() {
        let found = world.chunks.summary(pack.pack).await.unwrap().batches;
        batches.extend(found.into_iter().map(|batch| batch.index));
    }
    batches.sort_by_key(|index| index.sequence);
    let (mut here, mut void) = (false, false);
    for index in batches {
        let is_here = |name| matches!(name, RecordName::Manifest(id) if id == manifest);
        if index.records.iter().any(|record| is_here(record.name)) {
            (here, void) = (true, false);
        }
        void |= index.voids.contains(&manifest);
    }
    (here, void)
}

/// A file is removed while its own pack is compacted: the copy of its manifest does not outlive its end.
#[test]
fn a_manifest_that_moves_ends_all_the_same() {
    check("remove and move", || {
        let (world, first) = first_among(2..8);
        let manifest = first.0.manifest;
        let removing = world.clone();
        let removal = spawn(async move { removing.remove("first", &first).await });
        let collection = spawn(collect(world.clone(), 1));
        block_on(removal).unwrap();
        block_on(collection).unwrap();
        let (here, void) = block_on(said(&world, manifest));
        assert!(void || !here, "the packs say last that it is here");
    });
}
