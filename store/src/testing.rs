//! A vault in memory, for the tests of other crates: real sealing over the memory twins.

use std::{path::Path, sync::Arc};

use readvault_ambient::{Clock, System};

use crate::{
    Result,
    catalog::memory::MemoryCatalog,
    chunk_store::{MemoryChunkStore, PACK_BYTES_MAX, StoreParams},
    disk::memory::MemoryDisk,
    ids::WriterId,
    keys::{KeyProvider, MemoryKeyProvider, VaultKeys, VaultKeysParams},
    vault::{Vault, VaultParams},
};

/// A vault in memory, and what stands under it.
#[derive(Debug)]
pub struct MemoryVault {
    /// The vault.
    pub vault: Vault,
    /// Its catalog.
    pub catalog: Arc<MemoryCatalog>,
    /// Its master key.
    pub provider: Arc<MemoryKeyProvider>,
}

impl MemoryVault {
    /// A new vault whose key files live in `directory`; a pack is closed once it has `pack_bytes_max`.
    ///
    /// # Errors
    /// When the key files can't be written.
    pub async fn new(directory: &Path, pack_bytes_max: u64) -> Result<Self> {
        let provider = Arc::new(MemoryKeyProvider::new(Arc::new(System)));
        let clock = Arc::new(System);
        let (vault, catalog) = open(directory, provider.clone(), clock, pack_bytes_max).await?;
        Ok(Self { vault, catalog, provider })
    }
}

/// A new vault whose catalog and packs live in memory; its key files live in `directory`.
///
/// # Errors
/// When the key files can't be written.
pub async fn vault_in(directory: &Path) -> Result<(Vault, Arc<MemoryCatalog>)> {
    vault_with(directory, Arc::new(MemoryKeyProvider::new(Arc::new(System)))).await
}

/// As [`vault_in`], with keys that `provider` wraps.
///
/// # Errors
/// As [`vault_in`].
pub async fn vault_with(
    directory: &Path,
    provider: Arc<dyn KeyProvider>,
) -> Result<(Vault, Arc<MemoryCatalog>)> {
    open(directory, provider, Arc::new(System), PACK_BYTES_MAX).await
}

/// As [`vault_with`], whose time is that of `clock`.
///
/// # Errors
/// As [`vault_in`].
pub async fn vault_at(
    directory: &Path,
    provider: Arc<dyn KeyProvider>,
    clock: Arc<dyn Clock>,
) -> Result<(Vault, Arc<MemoryCatalog>)> {
    open(directory, provider, clock, PACK_BYTES_MAX).await
}

async fn open(
    directory: &Path,
    provider: Arc<dyn KeyProvider>,
    clock: Arc<dyn Clock>,
    pack_bytes_max: u64,
) -> Result<(Vault, Arc<MemoryCatalog>)> {
    let keys = VaultKeys::open(key_files(directory, provider, clock.clone())).await?;
    over(keys, clock, pack_bytes_max).await
}

fn key_files(
    directory: &Path,
    provider: Arc<dyn KeyProvider>,
    clock: Arc<dyn Clock>,
) -> VaultKeysParams {
    VaultKeysParams { directory: directory.to_owned(), provider, clock, entropy: Arc::new(System) }
}

async fn over(
    keys: VaultKeys,
    clock: Arc<dyn Clock>,
    pack_bytes_max: u64,
) -> Result<(Vault, Arc<MemoryCatalog>)> {
    let entropy = Arc::new(System);
    let writer = WriterId::draw(&*entropy);
    let params =
        StoreParams { vault_key: keys.vault_key().clone(), writer, entropy: entropy.clone() };
    let catalog = Arc::new(MemoryCatalog::new());
    let vault = Vault::start(
        VaultParams {
            catalog: catalog.clone(),
            chunks: Arc::new(MemoryChunkStore::with_pack_bytes(params, pack_bytes_max)),
            keys: Arc::new(keys),
            entropy,
            clock,
            writer,
            copy: None,
        },
        &[],
    )
    .await?;
    Ok((vault, catalog))
}

/// A new vault of which everything lives in memory.
///
/// # Panics
/// When it can't be made: a test can't go on then.
pub async fn vault() -> Vault {
    let provider = Arc::new(MemoryKeyProvider::new(Arc::new(System)));
    let disk = Arc::new(MemoryDisk::default());
    let keys = key_files(Path::new("/vault"), provider, Arc::new(System));
    let keys = VaultKeys::open_on(disk, keys).await.expect("key files in memory");
    over(keys, Arc::new(System), PACK_BYTES_MAX).await.expect("a vault in memory").0
}
