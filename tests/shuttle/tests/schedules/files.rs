//! Uploads, readers and removals that meet in a vault.

use readvault_store::{
    ErrorKind,
    catalog::{RowKey, memory::Fault},
    vault::VaultCommit,
};
use shuttle::future::{block_on, spawn};

use crate::{
    check,
    world::{NAMES, World, body},
};

/// Two uploads of the same bytes, and a third of others: each reads back, whoever stored the chunk.
#[test]
fn equal_uploads_at_once_read_back() {
    check("equal uploads", || {
        let world = World::new();
        let uploads = [("a", 1), ("b", 1), ("c", 2)].map(|(name, byte)| {
            let world = world.clone();
            spawn(async move {
                let (file, _) = world.put(name, &body(byte)).await.unwrap();
                assert!(world.read(&file).await.unwrap() == body(byte));
            })
        });
        uploads.into_iter().for_each(|upload| block_on(upload).unwrap());
    });
}

/// Two uploads to one name: one is there, the other is void and not found.
#[test]
fn one_of_two_uploads_to_a_name_is_refused() {
    check("one name", || {
        let world = World::new();
        let uploads = [1, 2].map(|byte| {
            let world = world.clone();
            spawn(async move {
                let put = world.put("name", &body(byte)).await;
                if let Some((file, _)) = &put {
                    assert!(world.read(file).await.unwrap() == body(byte));
                }
                put.is_some()
            })
        });
        let applied = uploads.map(|upload| block_on(upload).unwrap());
        assert_eq!(applied.iter().filter(|applied| **applied).count(), 1);
    });
}

/// A reader meets a removal: it gets all bytes or none, and afterwards nobody finds the file.
#[test]
fn a_removed_file_is_not_found_whoever_read_it_meanwhile() {
    check("read and remove", || {
        let world = World::new();
        let put = block_on(world.put("a", &body(1))).unwrap();
        let (reading, file) = (world.clone(), put.0.clone());
        let reader = spawn(async move {
            match reading.read(&file).await {
                Ok(bytes) => assert!(bytes == body(1)),
                Err(cause) => assert_eq!(cause.kind(), ErrorKind::NotFound, "{cause}"),
            }
        });
        let (removing, file) = (world.clone(), put.clone());
        let removal = spawn(async move { removing.remove("a", &file).await });
        block_on(reader).unwrap();
        block_on(removal).unwrap();
        let found = block_on(world.read(&put.0));
        assert_eq!(found.unwrap_err().kind(), ErrorKind::NotFound);
    });
}

/// A commit whose outcome is not known meets others: what was answered is what is there.
#[test]
fn an_unknown_outcome_is_settled_among_other_commits() {
    check("unknown outcome", || {
        let world = World::new();
        for fault in [Fault::UnknownApplied, Fault::UnknownNotApplied] {
            // Both bodies are known, so that the fault meets one of the two last commits.
            for (name, byte) in [("x", 1), ("y", 2)] {
                let row = format!("{name}{fault:?}");
                block_on(world.put(&row, &body(byte))).unwrap();
            }
            world.catalog.inject(fault);
            let uploads = [("a", 1), ("b", 2)].map(|(name, byte)| {
                let (world, name) = (world.clone(), format!("{name}{fault:?}"));
                spawn(async move {
                    let (staged, _) = world.stage(&body(byte)).await.unwrap();
                    let file = staged.file().clone();
                    let mut commit = VaultCommit::default();
                    let row = RowKey::new(NAMES, name);
                    commit.commit.absent(row.clone()).put(row, "");
                    commit.files.push(staged);
                    match (world.vault.commit(commit).await, world.read(&file).await) {
                        (Ok(_), read) => assert!(read.unwrap() == body(byte)),
                        (Err(cause), Err(gone)) => {
                            assert_eq!(cause.kind(), ErrorKind::Unavailable);
                            assert_eq!(gone.kind(), ErrorKind::NotFound);
                        }
                        (Err(cause), Ok(_)) => panic!("there, but answered {cause}"),
                    }
                })
            });
            uploads.into_iter().for_each(|upload| block_on(upload).unwrap());
        }
    });
}
