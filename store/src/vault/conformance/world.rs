//! What a vault is started on, and starting it as a server does.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use readvault_ambient::{Entropy, testing::ManualClock};

use super::End;
use crate::{
    Result,
    catalog::{Catalog, memory::MemoryCatalog, row::RowSealer},
    chunk_store::{ChunkStore, LocalChunkStore, PackPlace, StoreParams},
    disk::Disk,
    ids::WriterId,
    keys::{MemoryKeyProvider, VaultKeys, VaultKeysParams},
    seal::SecretKey,
    vault::{Vault, VaultParams, unsettled},
};

/// A disk, a master key and a clock that outlive the vaults that are started on them.
#[async_trait]
pub trait World: Sync {
    /// Starts a vault on what the disk holds now.
    ///
    /// # Errors
    /// Those of opening a vault.
    async fn start(&self) -> Result<Running>;

    /// Ends a vault: what it did not make durable may be gone afterwards.
    async fn end(&self, running: Running, end: End);

    /// The clock of every vault here.
    fn clock(&self) -> &ManualClock;

    /// The master key of every vault here.
    fn provider(&self) -> &MemoryKeyProvider;

    /// The catalog, when it is one that meets faults on demand.
    fn faults(&self) -> Option<&MemoryCatalog>;
}

/// A vault that was started, and the parts of it that a test looks at.
#[derive(Debug)]
pub struct Running {
    /// The vault.
    pub vault: Vault,
    /// Its keys.
    pub keys: Arc<VaultKeys>,
    /// Its packs.
    pub chunks: Arc<LocalChunkStore>,
}

/// What a vault is made of in a test.
#[derive(Debug)]
pub struct Parts {
    /// The files.
    pub disk: Arc<dyn Disk>,
    /// Where they are.
    pub directory: PathBuf,
    /// Bytes at which a pack is closed.
    pub pack_bytes_max: u64,
    /// The master key.
    pub provider: Arc<MemoryKeyProvider>,
    /// The clock.
    pub clock: Arc<ManualClock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl Parts {
    /// Starts a vault, in the order of a server's start: keys, catalog, packs, vault.
    ///
    /// # Errors
    /// Those of opening any of them.
    pub async fn start(
        self,
        catalog: impl FnOnce(RowSealer) -> Result<Arc<dyn Catalog>>,
    ) -> Result<Running> {
        let Self { disk, directory, pack_bytes_max, provider, clock, entropy } = self;
        let params = VaultKeysParams {
            directory: directory.clone(),
            provider,
            clock: clock.clone(),
            entropy: entropy.clone(),
        };
        let keys = Arc::new(VaultKeys::open_on(disk.clone(), params).await?);
        let catalog = catalog(RowSealer::new(SecretKey::from_bytes(keys.catalog_key().expose())))?;
        let (vault_key, writer) = (keys.vault_key().clone(), WriterId::draw(&*entropy));
        let params = StoreParams { vault_key, writer, entropy: entropy.clone() };
        let place = PackPlace { disk, directory: directory.join("packs"), pack_bytes_max };
        let chunks = Arc::new(LocalChunkStore::open_at(place, params)?);
        let mut packs = Vec::new();
        for pack in unsettled(&*catalog, chunks.packs()?).await? {
            packs.push(chunks.summary(pack).await?);
        }
        let (store, keys_of) = (chunks.clone(), keys.clone());
        let params = VaultParams {
            catalog,
            chunks: store,
            keys: keys_of,
            entropy,
            clock,
            writer,
            copy: None,
        };
        let vault = Vault::start(params, &packs).await?;
        Ok(Running { vault, keys, chunks })
    }
}
