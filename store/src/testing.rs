//! A vault in memory, for the tests of other crates: real sealing over the memory twins.

use std::sync::Arc;

use readvault_ambient::System;

use crate::{
    Result,
    catalog::memory::MemoryCatalog,
    chunk_store::{MemoryChunkStore, StoreParams},
    ids::WriterId,
    keys::{MemoryKeyProvider, VaultKeys, VaultKeysParams},
    vault::{Vault, VaultParams},
};

/// A new vault whose catalog and packs live in memory; its key files live in `directory`.
///
/// # Errors
/// When the key files can't be written.
pub async fn vault_in(directory: &std::path::Path) -> Result<(Vault, Arc<MemoryCatalog>)> {
    let entropy = Arc::new(System);
    let provider = Arc::new(MemoryKeyProvider::new(entropy.clone()));
    let keys = VaultKeys::open(VaultKeysParams {
        directory: directory.to_owned(),
        provider,
        clock: Arc::new(System),
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
            chunks: Arc::new(MemoryChunkStore::new(params)),
            keys: Arc::new(keys),
            entropy,
            clock: Arc::new(System),
            writer,
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
