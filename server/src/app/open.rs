//! Opens the vault of the data directory: keys, catalog, packs, and what an earlier start left.

use std::{
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use readvault_ambient::System;
use readvault_store::{
    ErrorKind,
    catalog::Catalog,
    chunk_store::{ChunkStore, LocalChunkStore, NullChunkStore, PackCopy, PackSource, StoreParams},
    ids::WriterId,
    keys::{KeySource, Keyring, MasterKeys, VaultKeys, VaultKeysParams},
    pack::PackContents,
    receipts::Receipts,
    space::{Space, SpaceParams},
    vault::{self, Vault, VaultParams},
};

use readvault_store_rocks::RocksCatalog;

use super::{
    catalog,
    pieces::{Held, sealer},
};
use crate::{launcher, settings::Serve};

/// The key file of a `--dev` vault; no other vault may hold one.
pub(super) const DEV_KEY: &str = "dev.key";

/// The keyring file.
pub(super) const KEYRING: &str = "keyring";

/// Directory of the catalog, in the data directory.
pub(super) const CATALOG: &str = "catalog";

/// Directory of the packs, in the data directory.
pub(super) const PACKS: &str = "packs";

/// A key source that was read while paths could still be reached.
pub(super) enum Source {
    /// A passphrase or key that the operator gave.
    Given(KeySource),
    /// The key file of a `--dev` vault.
    Dev,
}

/// What the settings say opens the keyring.
///
/// # Errors
/// When no source is named and this is no `--dev` vault, or the named file can't be read.
pub(super) fn key_source(settings: &Serve) -> Result<Source> {
    let source = match settings.source.source()? {
        Some(source) => Source::Given(source),
        None if settings.dev => Source::Dev,
        None => bail!(
            "no key source: name one with --passphrase-file or --key-file (a systemd credential is \
             a file, too), or try things out with --dev"
        ),
    };
    if !settings.dev && settings.data.join(DEV_KEY).exists() {
        bail!(
            "this is a --dev vault: its key lies beside its data, so it is served with --dev only"
        );
    }
    Ok(source)
}

/// The inspector beside this program, opened before its directory may be out of reach.
pub(super) struct InspectorProgram(std::fs::File);

impl InspectorProgram {
    /// Opens it; none when it is not there: read sets can't be validated then.
    pub(super) fn find() -> Option<Self> {
        let path = launcher::beside("readvault-inspect").ok()?;
        std::fs::File::open(path).ok().map(Self)
    }

    /// A path that starts it, as long as this lives.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}

/// An open vault, and what must be closed in order.
pub(super) struct Open {
    pub(super) vault: Vault,
    pub(super) master_keys: Arc<dyn MasterKeys>,
    pub(super) receipts: Arc<Receipts>,
    pub(super) space: Arc<Space>,
    /// The catalog, when it is in the data directory.
    pub(super) catalog: Option<Arc<RocksCatalog>>,
    /// None where chunks go nowhere.
    pub(super) chunks: Option<Arc<LocalChunkStore>>,
    /// Let go last: nobody else may use the data directory before.
    _held: Option<Held>,
}

impl Open {
    /// Closes the open pack and settles what was closed, so that the next start reads nothing; the catalog closes
    /// when its last user drops it.
    pub(super) async fn close(self) -> Result<()> {
        let Some(chunks) = self.chunks else { return Ok(()) };
        settle(&self.vault).await;
        chunks.close().await.context("the open pack can't be closed")?;
        settle(&self.vault).await;
        Ok(())
    }
}

/// Settles what was closed; the next start does what this can't.
async fn settle(vault: &Vault) {
    if let Err(cause) = vault.settle_packs().await {
        tracing::debug!(%cause, "packs are left to the next start");
    }
}

/// Opens the vault in `data`, or makes a new one.
pub(super) async fn vault(settings: &Serve, source: Source, place: catalog::Place) -> Result<Open> {
    let held = Held::take(&settings.data)?;
    let space = Arc::new(Space::open(
        &settings.data,
        SpaceParams {
            free_bytes_min: settings.keep_free_mib << 20,
            reserve_bytes: settings.reserve_mib << 20,
        },
    ));
    if settings.chunk_store == "null" && !settings.dev {
        bail!("--chunk-store null keeps nothing: it is for measurements with --dev");
    }
    let open = match opened(settings, (&source, &place), &space).await {
        // A full disk must not keep its vault from being read and emptied.
        Err(cause) if is_full(&cause) => {
            space.met_full();
            opened(settings, (&source, &place), &space).await?
        }
        opened => opened?,
    };
    Ok(Open { _held: Some(held), ..open })
}

fn is_full(cause: &anyhow::Error) -> bool {
    let of_vault = |error: &readvault_store::Error| error.kind() == ErrorKind::NoSpace;
    cause.chain().any(|cause| {
        cause.downcast_ref().is_some_and(of_vault)
            || cause
                .downcast_ref::<std::io::Error>()
                .is_some_and(|error| error.kind() == std::io::ErrorKind::StorageFull)
    })
}

async fn opened(
    settings: &Serve,
    (source, place): (&Source, &catalog::Place),
    space: &Arc<Space>,
) -> Result<Open> {
    let data = &settings.data;
    let entropy = Arc::new(System);
    let keyring = match source {
        Source::Given(source) => keyring(&data.join(KEYRING), source)?,
        Source::Dev => keyring(&data.join(KEYRING), &KeySource::File(dev_key(data)?))?,
    };
    let keyring = Arc::new(keyring);
    let keys = VaultKeys::open(VaultKeysParams {
        directory: data.to_owned(),
        provider: keyring.clone(),
        clock: Arc::new(System),
        entropy: entropy.clone(),
    })
    .await
    .context("the keys of the vault can't be opened")?;
    finish_rotation(&keys).await;
    let catalog::Opened { catalog, embedded } = catalog::open(data, place, sealer(&keys)).await?;
    if let Some(embedded) = &embedded {
        embedded.reserve(space.clone());
    }
    let writer = WriterId::draw(&System);
    let params =
        StoreParams { vault_key: keys.vault_key().clone(), writer, entropy: entropy.clone() };
    let packs = packs(settings, params, space, &*catalog).await?;
    let copy = settings.upkeep.second_copy.as_deref().map(second_copy).transpose()?;
    let directory = data.join("receipts");
    let receipts =
        Receipts::open(&directory, keys.vault(), keys.vault_key().clone(), entropy.clone())
            .context("the receipts of erasures can't be opened")?;
    let params = VaultParams {
        catalog: catalog.clone(),
        chunks: packs.store,
        keys: Arc::new(keys),
        entropy,
        clock: Arc::new(System),
        writer,
        copy,
    };
    let vault =
        Vault::start(params, &packs.unsettled).await.context("the vault can't be opened")?;
    let (space, receipts) = (space.clone(), Arc::new(receipts));
    Ok(Open {
        vault,
        master_keys: keyring,
        receipts,
        space,
        catalog: embedded,
        chunks: packs.local,
        _held: None,
    })
}

/// Where chunks go, and what is to be settled of those that are there.
struct Packs {
    store: Arc<dyn ChunkStore>,
    /// None where chunks go nowhere.
    local: Option<Arc<LocalChunkStore>>,
    unsettled: Vec<PackContents>,
}

async fn packs(
    settings: &Serve,
    params: StoreParams,
    space: &Arc<Space>,
    catalog: &dyn Catalog,
) -> Result<Packs> {
    if settings.chunk_store == "null" {
        let store = Arc::new(NullChunkStore::new(params));
        return Ok(Packs { store, local: None, unsettled: Vec::new() });
    }
    let store = LocalChunkStore::open(settings.data.join(PACKS), params);
    let store = Arc::new(store.context("the packs can't be opened")?);
    store.reserve(space.clone());
    let mut unsettled = Vec::new();
    for pack in vault::unsettled(catalog, store.packs()?).await? {
        match store.summary(pack).await {
            Ok(contents) => unsettled.push(contents),
            // A start that ended before its first batch leaves a pack without even a header.
            Err(cause) => tracing::warn!(%pack, %cause, "a pack can't be read"),
        }
    }
    Ok(Packs { store: store.clone(), local: Some(store), unsettled })
}

/// Goes on with a rotation that an earlier start did not finish. Without it every key opens, too.
async fn finish_rotation(keys: &VaultKeys) {
    let stale = keys.stale();
    if stale == 0 {
        return;
    }
    match keys.rewrap(&|_, _| {}).await {
        Ok(count) => tracing::info!(count, "a rotation of keys was finished"),
        Err(cause) => tracing::error!(%cause, stale, "a rotation of keys can't be finished"),
    }
}

/// The packs of another copy, to mend from.
fn second_copy(path: &Path) -> Result<Arc<dyn PackSource>> {
    let packs = PackCopy::open(path.join("packs"));
    Ok(Arc::new(packs.context("the second copy can't be read: is it the directory of a backup?")?))
}

fn keyring(path: &Path, source: &KeySource) -> Result<Keyring> {
    let entropy = Arc::new(System);
    if path.exists() {
        return Keyring::open(path, source, entropy)
            .context("the keyring can't be opened: wrong passphrase or key?");
    }
    Keyring::create(path, source, entropy).context("a keyring can't be made")
}

/// The key file of a `--dev` vault, made at its first start.
fn dev_key(data: &Path) -> Result<PathBuf> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let path = data.join(DEV_KEY);
    if path.exists() {
        return Ok(path);
    }
    if data.join(KEYRING).exists() {
        bail!("this vault was not made with --dev: name its key source");
    }
    let key: [u8; 32] = readvault_ambient::random(&System);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .context("the key of the --dev vault can't be written")?;
    file.write_all(&key).and_then(|()| file.sync_all()).context("dev.key can't be written")?;
    Ok(path)
}
