//! A vault in memory for one schedule.

use std::sync::Arc;

use bytes::Bytes;
use futures::{TryStreamExt, stream};
use readvault_ambient::testing::{ManualClock, SeededEntropy};
use readvault_store::{
    Result,
    catalog::{RowKey, Table, memory::MemoryCatalog},
    chunk_store::{ChunkStore, MemoryChunkStore, StoreParams},
    disk::memory::MemoryDisk,
    ids::WriterId,
    keys::{MemoryKeyProvider, VaultKeys, VaultKeysParams},
    vault::{
        BodyError, Committed, DomainChoice, FileRef, FileRole, FileSpec, Item, ItemKind, Metadata,
        Removal, SlotChoice, StageError, Staged, Store, Vault, VaultCommit, VaultParams,
    },
};
use shuttle::future::block_on;

/// The table of names.
pub(crate) const NAMES: Table = Table("names");

/// Bytes at which a pack is closed: few, so that there are some to compact.
const PACK_BYTES_MAX: u64 = 8 << 10;

/// One vault.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) vault: Vault,
    pub(crate) catalog: Arc<MemoryCatalog>,
    pub(crate) chunks: Arc<dyn ChunkStore>,
    pub(crate) provider: Arc<MemoryKeyProvider>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Store,
}

impl World {
    /// An empty vault. Randomness is the same in every schedule, so that one can be repeated.
    pub(crate) fn new() -> Self {
        block_on(Self::start())
    }

    async fn start() -> Self {
        let clock = Arc::new(ManualClock::at(1_000_000));
        let entropy = Arc::new(SeededEntropy::new(2));
        let provider = Arc::new(MemoryKeyProvider::new(entropy.clone()));
        let params = VaultKeysParams {
            directory: "/vault".into(),
            provider: provider.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
        };
        let keys = VaultKeys::open_on(Arc::new(MemoryDisk::default()), params).await.unwrap();
        let store = keys.create_store("123456789012", DomainChoice::Own).await.unwrap();
        let writer = WriterId::draw(&*entropy);
        let vault_key = keys.vault_key().clone();
        let params = StoreParams { vault_key, writer, entropy: entropy.clone() };
        let catalog = Arc::new(MemoryCatalog::new());
        let chunks: Arc<dyn ChunkStore> =
            Arc::new(MemoryChunkStore::with_pack_bytes(params, PACK_BYTES_MAX));
        let params = VaultParams {
            catalog: catalog.clone(),
            chunks: chunks.clone(),
            keys: Arc::new(keys),
            entropy,
            clock: clock.clone(),
            writer,
            copy: None,
        };
        let vault = Vault::start(params, &[]).await.unwrap();
        Self { vault, catalog, chunks, provider, clock, store }
    }

    /// Stages `bytes` as one chunk.
    pub(crate) async fn stage(&self, bytes: &Bytes) -> Result<(Staged, Item)> {
        let item = self.vault.new_item(&self.store, ItemKind::Object, SlotChoice::OfStore).await?;
        let body = stream::iter([Ok::<_, BodyError>(bytes.clone())]);
        match self.vault.stage(spec(item.clone()), body).await {
            Ok(staged) => Ok((staged, item)),
            Err(StageError::Store(cause)) => Err(cause),
            Err(StageError::Body(cause)) => panic!("{cause}"),
        }
    }

    /// Stores `bytes` under `name`, which must be free; none when another was faster.
    pub(crate) async fn put(&self, name: &str, bytes: &Bytes) -> Option<(FileRef, Item)> {
        let (staged, item) = self.stage(bytes).await.unwrap();
        let file = staged.file().clone();
        let mut commit = VaultCommit::default();
        let row = RowKey::new(NAMES, name);
        commit.commit.absent(row.clone()).put(row, file.manifest.0.to_vec());
        commit.files.push(staged);
        match self.vault.commit(commit).await.unwrap() {
            Committed::Applied { .. } => Some((file, item)),
            Committed::Conflict(_) => None,
        }
    }

    /// Copies `source` to `name`, moving no bytes.
    pub(crate) async fn copy(&self, name: &str, source: &FileRef) -> Result<FileRef> {
        let item = self.vault.new_item(&self.store, ItemKind::Object, SlotChoice::OfStore).await?;
        let staged = self.vault.adopt(spec(item), source).await?.expect("one domain");
        let file = staged.file().clone();
        let mut commit = VaultCommit::default();
        commit.commit.put(RowKey::new(NAMES, name), "");
        commit.files.push(staged);
        let copied = self.vault.commit(commit).await?;
        assert!(matches!(copied, Committed::Applied { .. }));
        Ok(file)
    }

    /// Removes the file of `name`.
    pub(crate) async fn remove(&self, name: &str, (file, item): &(FileRef, Item)) {
        let mut commit = VaultCommit::default();
        commit.commit.delete(RowKey::new(NAMES, name));
        commit.removes.push(Removal { item: item.id, files: vec![file.clone()] });
        let removed = self.vault.commit(commit).await.unwrap();
        assert!(matches!(removed, Committed::Applied { .. }));
    }

    /// All bytes of `file`.
    pub(crate) async fn read(&self, file: &FileRef) -> Result<Bytes> {
        let reader = self.vault.open_file(file).await?;
        let pieces: Vec<_> = reader.stream(0..file.length).try_collect().await?;
        Ok(pieces.concat().into())
    }
}

fn spec(item: Item) -> FileSpec {
    FileSpec::new(item, FileRole::Part, Metadata::None)
}

/// A body of one chunk.
pub(crate) fn body(byte: u8) -> Bytes {
    vec![byte; 500].into()
}
