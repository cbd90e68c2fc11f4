//! A real vault over a directory: keyring, key files, RocksDB, packs.

use std::{path::PathBuf, sync::Arc};

use readvault_ambient::{Clock as _, System};
use readvault_store::{
    Result,
    catalog::{Table, row::RowSealer},
    chunk_store::{ChunkStore, LocalChunkStore, PackPlace, StoreParams},
    disk::{
        Disk, LocalDisk,
        observed::{ObservedDisk, Observer},
    },
    ids::WriterId,
    keys::{KeySource, Keyring, MasterKeys, PassphraseCost, VaultKeys, VaultKeysParams},
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
    /// How many packs had to be read to open it.
    pub packs_read: usize,
    keyring: Arc<Keyring>,
    directory: PathBuf,
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
        let keyring = Arc::new(self.keyring(&disk)?);
        let params = VaultKeysParams {
            directory: self.directory.clone(),
            provider: keyring.clone(),
            clock: Arc::new(System),
            entropy: entropy.clone(),
        };
        let keys = Arc::new(VaultKeys::open_on(disk.clone(), params).await?);
        if keys.stale() > 0 {
            // As the server goes on with a rotation that did not end; without it every key opens, too.
            let _ = keys.rewrap(&|_, _| {}).await;
        }
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
        let (packs_read, directory) = (packs.len(), self.directory.clone());
        Ok(OpenVault { vault, chunks, keys, packs_read, keyring, directory })
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
    /// Makes a new master key, wraps every key under it, and retires the older ones.
    ///
    /// # Errors
    /// Those of the keys; a rotation that is cut short is finished by the next opening.
    pub async fn rotate(&self) -> Result<()> {
        let older = self.keyring.names();
        self.keyring.add()?;
        self.keys.rewrap(&|_, _| {}).await?;
        for name in older {
            self.keys.retire(&*self.keyring, &name).await?;
        }
        Ok(())
    }

    /// Writes a checkpoint of the catalog beside it.
    ///
    /// # Errors
    /// Those of the vault.
    pub async fn checkpoint(&self) -> Result<()> {
        let directory = self.directory.join("checkpoints");
        self.vault.checkpoint(&directory, System.unix_ms()).await.map(drop)
    }

    /// Closes it in the server's order: packs, which are settled then, and the catalog when its last user is gone.
    ///
    /// # Errors
    /// Those of the chunk store.
    pub async fn close(self) -> Result<()> {
        // As the server: the next start does what this can't.
        let _ = self.vault.settle_packs().await;
        self.chunks.close().await?;
        let _ = self.vault.settle_packs().await;
        Ok(())
    }
}
