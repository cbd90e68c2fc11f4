//! A vault in memory, for the tests of other crates: real sealing over the memory twins.

use std::sync::Arc;

use readvault_ambient::{Clock, System};

use crate::{
    Result,
    catalog::memory::MemoryCatalog,
    chunk_store::{MemoryChunkStore, PACK_BYTES_MAX, StoreParams},
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
    pub async fn new(directory: &std::path::Path, pack_bytes_max: u64) -> Result<Self> {
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
pub async fn vault_in(directory: &std::path::Path) -> Result<(Vault, Arc<MemoryCatalog>)> {
    vault_with(directory, Arc::new(MemoryKeyProvider::new(Arc::new(System)))).await
}

/// As [`vault_in`], with keys that `provider` wraps.
///
/// # Errors
/// As [`vault_in`].
pub async fn vault_with(
    directory: &std::path::Path,
    provider: Arc<dyn KeyProvider>,
) -> Result<(Vault, Arc<MemoryCatalog>)> {
    open(directory, provider, Arc::new(System), PACK_BYTES_MAX).await
}

/// As [`vault_with`], whose time is that of `clock`.
///
/// # Errors
/// As [`vault_in`].
pub async fn vault_at(
    directory: &std::path::Path,
    provider: Arc<dyn KeyProvider>,
    clock: Arc<dyn Clock>,
) -> Result<(Vault, Arc<MemoryCatalog>)> {
    open(directory, provider, clock, PACK_BYTES_MAX).await
}

async fn open(
    directory: &std::path::Path,
    provider: Arc<dyn KeyProvider>,
    clock: Arc<dyn Clock>,
    pack_bytes_max: u64,
) -> Result<(Vault, Arc<MemoryCatalog>)> {
    let entropy = Arc::new(System);
    let keys = VaultKeys::open(VaultKeysParams {
        directory: directory.to_owned(),
        provider,
        clock: clock.clone(),
        entropy: entropy.clone(),
    })
    .await?;
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

/// A new vault in memory, with its key files in a directory of its own that stays until the system
/// cleans its temporary files.
///
/// # Panics
/// When the key files can't be written: a test can't go on then.
pub async fn vault() -> Vault {
    let name = format!("rv-testing-{}", WriterId::draw(&System));
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&directory).expect("a temporary directory");
    vault_in(&directory).await.expect("a vault in memory").0
}
