//! A real vault over a directory: keyring, key files, RocksDB, packs.

use std::{path::PathBuf, sync::Arc};

use readvault_ambient::System;
use readvault_store::{
    Result,
    catalog::{Table, row::RowSealer},
    chunk_store::{ChunkStore, LocalChunkStore, PackPlace, StoreParams},
    disk::{
        Disk, LocalDisk,
        observed::{ObservedDisk, Observer},
    },
    ids::WriterId,
    keys::{KeySource, Keyring, PassphraseCost, VaultKeys, VaultKeysParams},
    seal::SecretKey,
    vault::{self, Vault, VaultParams},
};
use readvault_store_rocks::{Observed, RocksCatalog};

/// The table of a campaign's own rows: name → [`Stored`](crate::lane::Stored).
pub const OBJECTS: Table = Table("objects");

/// Bytes of rows that RocksDB keeps before it writes a file; the least that it takes.
pub const WRITE_BUFFER_BYTES: usize = 64 << 10;

/// A directory, and how a vault in it is opened.
#[derive(Clone, Debug)]
pub struct Home {
    /// The data directory.
    pub directory: PathBuf,
    /// Sees every operation on its files; none for a vault left alone.
    pub observer: Option<Arc<dyn Observer>>,
    /// Bytes at which a pack is closed.
    pub pack_bytes_max: u64,
}

/// An open vault and its parts.
#[derive(Debug)]
pub struct OpenVault {
    /// The vault.
    pub vault: Vault,
    /// Its packs.
    pub chunks: Arc<LocalChunkStore>,
    /// Its keys.
    pub keys: Arc<VaultKeys>,
}

impl Home {
    /// A vault in `directory` that is left alone, with small packs.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), observer: None, pack_bytes_max: 256 << 10 }
    }

    /// The same, seen by `observer`.
    #[must_use]
    pub fn observed(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Opens the vault as the server does, or makes a new one.
    ///
    /// # Errors
    /// Those of each part.
    pub async fn open(&self) -> Result<OpenVault> {
        let (disk, entropy) = (self.disk(), Arc::new(System));
        let params = VaultKeysParams {
            directory: self.directory.clone(),
            provider: Arc::new(self.keyring(&disk)?),
            clock: Arc::new(System),
            entropy: entropy.clone(),
        };
        let keys = Arc::new(VaultKeys::open_on(disk.clone(), params).await?);
        let catalog = Arc::new(self.catalog(&keys)?);
        let writer = WriterId::draw(&System);
        let params =
            StoreParams { vault_key: keys.vault_key().clone(), writer, entropy: entropy.clone() };
        let (directory, pack_bytes_max) = (self.directory.join("packs"), self.pack_bytes_max);
        let place = PackPlace { disk, directory, pack_bytes_max };
        let chunks = Arc::new(LocalChunkStore::open_at(place, params)?);
        let mut packs = Vec::new();
        for pack in vault::unsettled(&*catalog, chunks.packs()?).await? {
            // As the server: a pack that was never begun is passed over.
            packs.extend(chunks.summary(pack).await.ok());
        }
        let params = VaultParams {
            catalog,
            chunks: chunks.clone(),
            keys: keys.clone(),
            entropy,
            clock: Arc::new(System),
            writer,
            copy: None,
        };
        let vault = Vault::start(params, &packs).await?;
        Ok(OpenVault { vault, chunks, keys })
    }

    fn disk(&self) -> Arc<dyn Disk> {
        let local = Arc::new(LocalDisk);
        match &self.observer {
            Some(observer) => Arc::new(ObservedDisk::new(local, observer.clone())),
            None => local,
        }
    }

    fn keyring(&self, disk: &Arc<dyn Disk>) -> Result<Keyring> {
        let (path, entropy) = (self.directory.join("keyring"), Arc::new(System));
        let source = KeySource::Raw([7; 32].into());
        if path.exists() {
            return Keyring::open_on(disk.clone(), &path, &source, entropy);
        }
        Keyring::create_on(disk.clone(), &path, &source, PassphraseCost::default(), entropy)
    }

    fn catalog(&self, keys: &VaultKeys) -> Result<RocksCatalog> {
        let tables: Vec<Table> = vault::TABLES.iter().copied().chain([OBJECTS]).collect();
        let sealer = RowSealer::new(SecretKey::from_bytes(keys.catalog_key().expose()));
        let observed = Observed {
            directory: &self.directory.join("catalog"),
            observer: self.observer.clone(),
            write_buffer_bytes: WRITE_BUFFER_BYTES,
        };
        RocksCatalog::open_observed(observed, &tables, Arc::new(sealer), Arc::new(System))
    }
}

impl OpenVault {
    /// Closes it in the server's order: packs, then the catalog when its last user is gone.
    ///
    /// # Errors
    /// Those of the chunk store.
    pub async fn close(self) -> Result<()> {
        self.chunks.close().await
    }
}
