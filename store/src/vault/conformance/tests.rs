//! The suite on a world in memory: a sample here, the full count in the campaigns.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use futures::stream;

use super::*;
use crate::{
    ErrorKind,
    catalog::Catalog,
    vault::{
        Committed, DomainChoice, FileRole, FileSpec, ItemKind, Metadata, SlotChoice, Staged, Store,
        Vault, VaultCommit,
    },
};

/// Sequences of an ordinary run.
const SEQUENCES: u32 = 200;

#[expect(clippy::disallowed_methods, reason = "a test is configured by its environment")]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn random_sequences_do_as_the_model_does() {
    let sequences = setting("READVAULT_SEQUENCES").map_or(SEQUENCES, |count| count as u32);
    let seed = setting("READVAULT_SEED").unwrap_or(1);
    Campaign { seed, sequences, steps: 60 }.run(MemoryWorld::new);
}

async fn stage(vault: &Vault, store: &Store) -> Staged {
    let item = vault.new_item(store, ItemKind::Object, SlotChoice::OfStore).await.unwrap();
    let spec = FileSpec::new(item, FileRole::Object, Metadata::None);
    vault.stage(spec, stream::iter([Ok(Bytes::from_static(b"reads"))])).await.unwrap()
}

#[tokio::test]
async fn a_catalog_without_an_acknowledged_commit_is_refused() {
    let world = MemoryWorld::new(1);
    let running = world.start().await.unwrap();
    let vault = &running.vault;
    let store = vault.create_store("123456789012", DomainChoice::Own).await.unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let target: &Path = &scratch.path().join("checkpoint");
    let catalog = world.faults().unwrap();
    catalog.checkpoint(target).await.unwrap();
    for _ in 0..2 {
        let files = vec![stage(vault, &store).await];
        let commit = VaultCommit { files, ..VaultCommit::default() };
        assert!(matches!(vault.commit(commit).await.unwrap(), Committed::Applied { .. }));
    }
    // Only what is appended later can tell of a commit.
    drop(stage(vault, &store).await);
    let older = Arc::new(catalog.open_checkpoint(target).unwrap());
    world.end(running, End::PowerLost { kept: 0 }).await;
    let refused = world.parts().start(|_| Ok(older)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    world.end(world.start().await.unwrap(), End::Closed).await;
}
