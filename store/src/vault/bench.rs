//! A vault in memory with small packs, and what tests of upkeep do with it.

use std::sync::Arc;

use bytes::Bytes;
use futures::{TryStreamExt, stream};
use readvault_ambient::{Entropy, System};

use super::{
    BodyError, Committed, DomainChoice, FileRef, FileRole, FileSpec, ItemKind, Metadata, Removal,
    SlotChoice, Staged, Store, Vault, VaultCommit,
};
use crate::{catalog::memory::MemoryCatalog, keys::MemoryKeyProvider, testing::MemoryVault};

/// Small packs, so that there is always something to compact.
const PACK_BYTES: u64 = 64 << 10;

pub(super) struct Bench {
    pub(super) vault: Vault,
    pub(super) catalog: Arc<MemoryCatalog>,
    pub(super) provider: Arc<MemoryKeyProvider>,
    pub(super) store: Store,
    _directory: Option<tempfile::TempDir>,
}

/// A file that was put, and the item to delete it by.
#[derive(Clone, Debug)]
pub(super) struct Put {
    pub(super) removal: Removal,
    pub(super) file: FileRef,
    pub(super) bytes: Bytes,
}

pub(super) fn noise(length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    System.fill(&mut bytes);
    bytes.into()
}

impl Bench {
    pub(super) async fn new() -> Self {
        Self::with_pack_bytes(PACK_BYTES).await
    }

    /// The same with packs that are closed at so many bytes.
    pub(super) async fn with_pack_bytes(pack_bytes: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let made = MemoryVault::new(directory.path(), pack_bytes).await.unwrap();
        let MemoryVault { vault, catalog, provider } = made;
        let store = vault.create_store("123456789012", DomainChoice::Own).await.unwrap();
        Self { vault, catalog, provider, store, _directory: Some(directory) }
    }

    /// The same over a vault that stands on something else.
    pub(super) fn of(
        vault: Vault,
        catalog: Arc<MemoryCatalog>,
        provider: Arc<MemoryKeyProvider>,
        store: Store,
    ) -> Self {
        Self { vault, catalog, provider, store, _directory: None }
    }

    pub(super) async fn spec(&self) -> FileSpec {
        let item = self.vault.new_item(&self.store, ItemKind::Object, SlotChoice::OfStore).await;
        FileSpec::new(item.unwrap(), FileRole::Part, Metadata::None)
    }

    pub(super) async fn stage(&self, bytes: &Bytes) -> (Removal, Staged) {
        let spec = self.spec().await;
        let item = spec.item.id;
        let body = stream::iter([Ok::<_, BodyError>(bytes.clone())]);
        let staged = self.vault.stage(spec, body).await.unwrap();
        (Removal { item, files: vec![staged.file().clone()] }, staged)
    }

    pub(super) async fn publish(&self, (removal, staged): (Removal, Staged), bytes: &Bytes) -> Put {
        let file = staged.file().clone();
        let commit = VaultCommit { files: vec![staged], ..VaultCommit::default() };
        assert!(matches!(self.vault.commit(commit).await.unwrap(), Committed::Applied { .. }));
        Put { removal, file, bytes: bytes.clone() }
    }

    pub(super) async fn put(&self, bytes: &Bytes) -> Put {
        self.publish(self.stage(bytes).await, bytes).await
    }

    pub(super) async fn delete(&self, put: &Put) {
        let removes = vec![put.removal.clone()];
        let commit = VaultCommit { removes, ..VaultCommit::default() };
        assert!(matches!(self.vault.commit(commit).await.unwrap(), Committed::Applied { .. }));
    }

    pub(super) async fn reads_back(&self, put: &Put) {
        let reader = self.vault.open_file(&put.file).await.unwrap();
        let pieces: Vec<_> = reader.stream(0..put.file.length).try_collect().await.unwrap();
        assert_eq!(pieces.concat(), put.bytes);
    }
}
