//! Keys that end while they are used.

use futures::stream;
use readvault_store::{
    ErrorKind,
    keys::{Available, FRESH_MS_MAX},
    vault::{FileRef, FileRole, FileSpec, ItemKind, Metadata, SlotChoice, VaultCommit},
};
use shuttle::future::{block_on, spawn};

use crate::{
    check,
    world::{World, body},
};

/// A small file with this slot.
async fn inline(world: &World, slot: SlotChoice) -> (FileRef, u64) {
    let item = world.vault.new_item(&world.store, ItemKind::ReadSet, slot).await.unwrap();
    let slot = item.slot;
    let spec = FileSpec::new(item, FileRole::Source1, Metadata::None);
    let staged = world.vault.stage(spec, stream::iter([Ok(body(1))])).await.unwrap();
    let file = staged.file().clone();
    let files = vec![staged];
    let commit = VaultCommit { files, ..VaultCommit::default() };
    let _applied = world.vault.commit(commit).await.unwrap();
    (file, slot)
}

/// A reader opens a file while its slot is erased; afterwards nobody opens it.
#[test]
fn an_erased_file_stays_closed_whoever_opened_it_meanwhile() {
    check("open and erase", || {
        let world = World::new();
        let (file, slot) = block_on(inline(&world, SlotChoice::Own));
        // The keys are forgotten, so that the reader has to open them.
        world.clock.set(1_000_000 + 16 * 60_000);
        world.vault.expire();
        let (reading, name) = (world.clone(), file.clone());
        let reader = spawn(async move {
            match reading.read(&name).await {
                Ok(bytes) => assert!(bytes == body(1)),
                Err(cause) => assert_eq!(cause.kind(), ErrorKind::KeyUnavailable, "{cause}"),
            }
        });
        let (erasing, manifest) = (world.clone(), file.manifest);
        let erasure = spawn(async move { erasing.vault.erase(slot, &[manifest]).await.unwrap() });
        block_on(reader).unwrap();
        block_on(erasure).unwrap();
        let found = block_on(world.read(&file));
        assert_eq!(found.unwrap_err().kind(), ErrorKind::KeyUnavailable);
    });
}

/// The master key is disabled while readers ask for it; once it is no longer fresh, nothing is served.
#[test]
fn a_disabled_master_key_ends_all_reading() {
    check("disable the master key", || {
        let world = World::new();
        let (file, _) = block_on(inline(&world, SlotChoice::OfStore));
        let readers = [0, 1].map(|_| {
            let (world, file) = (world.clone(), file.clone());
            spawn(async move {
                match world.read(&file).await {
                    Ok(bytes) => assert!(bytes == body(1)),
                    Err(cause) => assert_eq!(cause.kind(), ErrorKind::KeyUnavailable, "{cause}"),
                }
            })
        });
        let waiting = world.clone();
        let wait = spawn(async move { waiting.clock.set(1_000_000 + FRESH_MS_MAX - 1) });
        let (disabling, provider) = (world.clone(), world.provider.clone());
        let disabled = spawn(async move {
            provider.set_available(Available::No);
            disabling.vault.expire();
        });
        readers.into_iter().for_each(|reader| block_on(reader).unwrap());
        block_on(wait).unwrap();
        block_on(disabled).unwrap();
        world.clock.set(1_000_000 + 2 * FRESH_MS_MAX);
        let found = block_on(world.read(&file));
        world.provider.set_available(Available::Yes);
        assert_eq!(found.unwrap_err().kind(), ErrorKind::KeyUnavailable);
    });
}
