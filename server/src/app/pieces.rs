//! The pieces of a vault without a server: for commands that need the data directory for themselves.

use std::{
    fs::{File, TryLockError},
    os::unix::fs::{MetadataExt, lchown},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use readvault_ambient::System;
use readvault_ops::tables;
use readvault_store::{
    catalog::{Table, row::RowSealer},
    chunk_store::{LocalChunkStore, StoreParams},
    ids::WriterId,
    keys::{KeySource, Keyring, VaultKeys, VaultKeysParams},
    seal::SecretKey,
    vault,
};

use super::{
    catalog,
    open::{CATALOG, DEV_KEY, KEYRING, PACKS},
};
use crate::admin::source::SourceArgs;

/// A lock that was just let go may be held a moment longer by a child between its fork and its exec.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The right to use a data directory: ends when it is dropped, or with the process.
#[derive(Debug)]
pub(super) struct Held(File);

impl Held {
    /// Takes `data`.
    ///
    /// # Errors
    /// When it does not exist, or a server or another command holds it.
    pub(super) fn take(data: &Path) -> Result<Self> {
        let directory = File::open(data)
            .with_context(|| format!("the data directory {} can't be opened", data.display()))?;
        for _ in 0..LOCK_TRIES {
            match directory.try_lock() {
                Ok(()) => return Ok(Self(directory)),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(cause)) => {
                    return Err(cause).context("the data directory can't be locked");
                }
            }
        }
        bail!("a server or another command holds this data directory: stop it first")
    }

    /// Gives `path` and all below it to whom the data directory belongs: a command of root must leave
    /// nothing that the server can't open.
    pub(super) fn give(&self, path: &Path) -> Result<()> {
        let owner = self.0.metadata().context("the data directory can't be read")?;
        give(path, (owner.uid(), owner.gid()))
            .with_context(|| format!("{} can't change owner", path.display()))
    }
}

fn give(path: &Path, (uid, gid): (u32, u32)) -> std::io::Result<()> {
    let metadata = std::fs::symlink_metadata(path)?;
    if (metadata.uid(), metadata.gid()) != (uid, gid) {
        lchown(path, Some(uid), Some(gid))?;
    }
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path)? {
            give(&entry?.path(), (uid, gid))?;
        }
    }
    Ok(())
}

/// Keys and packs of a vault; its catalog is somebody else's to open.
#[derive(Clone, Debug)]
pub(super) struct Pieces {
    pub(super) data: PathBuf,
    pub(super) keys: Arc<VaultKeys>,
    pub(super) chunks: Arc<LocalChunkStore>,
}

impl Pieces {
    /// Opens the keys of `data` by `source`; a `--dev` vault needs none.
    pub(super) async fn open(data: &Path, source: &SourceArgs) -> Result<Self> {
        catalog::must_be_embedded(data)?;
        let source = match source.source()? {
            Some(source) => source,
            None if data.join(DEV_KEY).exists() => KeySource::File(data.join(DEV_KEY)),
            None => bail!("no key source: name one with --passphrase-file or --key-file"),
        };
        let entropy = Arc::new(System);
        let keyring = Keyring::open(&data.join(KEYRING), &source, entropy.clone())
            .context("the keyring can't be opened: wrong passphrase or key?")?;
        let keys = VaultKeys::open(VaultKeysParams {
            directory: data.to_owned(),
            provider: Arc::new(keyring),
            clock: Arc::new(System),
            entropy: entropy.clone(),
        });
        let keys = Arc::new(keys.await.context("the keys of the vault can't be opened")?);
        let writer = WriterId::draw(&System);
        let vault_key = keys.vault_key().clone();
        let params = StoreParams { vault_key, writer, entropy };
        let chunks = LocalChunkStore::open(data.join(PACKS), params);
        let chunks = Arc::new(chunks.context("the packs can't be opened")?);
        Ok(Self { data: data.to_owned(), keys, chunks })
    }

    /// Where the catalog is.
    pub(super) fn catalog(&self) -> PathBuf {
        self.data.join(CATALOG)
    }

    /// What seals its rows.
    pub(super) fn sealer(&self) -> Arc<RowSealer> {
        sealer(&self.keys)
    }
}

/// What seals the rows of the catalog.
pub(super) fn sealer(keys: &VaultKeys) -> Arc<RowSealer> {
    Arc::new(RowSealer::new(SecretKey::from_bytes(keys.catalog_key().expose())))
}

/// All tables of the catalog.
pub(super) fn all_tables() -> Vec<Table> {
    vault::TABLES.iter().chain(tables::ALL).copied().collect()
}
