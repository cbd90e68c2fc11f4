//! Opens the vault of the data directory: keys, catalog, packs, and what an earlier start left.

use std::{
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use readvault_ambient::System;
use readvault_store::{
    chunk_store::{ChunkStore, LocalChunkStore, PackCopy, PackSource, StoreParams},
    ids::WriterId,
    keys::{KeySource, Keyring, MasterKeys, VaultKeys, VaultKeysParams},
    receipts::Receipts,
    vault::{self, Vault, VaultParams},
};

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
    chunks: Arc<LocalChunkStore>,
    /// Let go last: nobody else may use the data directory before.
    _held: Held,
}

impl Open {
    /// Closes the open pack; the catalog closes when its last user drops it.
    pub(super) async fn close(self) -> Result<()> {
        self.chunks.close().await.context("the open pack can't be closed")
    }
}

/// Opens the vault in `data`, or makes a new one.
pub(super) async fn vault(settings: &Serve, source: Source, place: catalog::Place) -> Result<Open> {
    let data = &settings.data;
    let held = Held::take(data)?;
    let entropy = Arc::new(System);
    let source = match source {
        Source::Given(source) => source,
        Source::Dev => KeySource::File(dev_key(data)?),
    };
    let keyring = Arc::new(keyring(&data.join(KEYRING), &source)?);
    let keys = VaultKeys::open(VaultKeysParams {
        directory: data.to_owned(),
        provider: keyring.clone(),
        clock: Arc::new(System),
        entropy: entropy.clone(),
    })
    .await
    .context("the keys of the vault can't be opened")?;
    finish_rotation(&keys).await;
    let catalog = catalog::open(data, place, sealer(&keys)).await?;
    let writer = WriterId::draw(&System);
    let params =
        StoreParams { vault_key: keys.vault_key().clone(), writer, entropy: entropy.clone() };
    let chunks =
        LocalChunkStore::open(data.join(PACKS), params).context("the packs can't be opened")?;
    let chunks = Arc::new(chunks);
    let mut packs = Vec::new();
    for pack in vault::unsettled(&*catalog, chunks.packs()?).await? {
        match chunks.summary(pack).await {
            Ok(contents) => packs.push(contents),
            // A start that ended before its first batch leaves a pack without even a header.
            Err(cause) => tracing::warn!(%pack, %cause, "a pack can't be read"),
        }
    }
    let copy = settings.upkeep.second_copy.as_deref().map(second_copy).transpose()?;
    let directory = data.join("receipts");
    let receipts =
        Receipts::open(&directory, keys.vault(), keys.vault_key().clone(), entropy.clone())
            .context("the receipts of erasures can't be opened")?;
    let params = VaultParams {
        catalog,
        chunks: chunks.clone(),
        keys: Arc::new(keys),
        entropy,
        clock: Arc::new(System),
        writer,
        copy,
    };
    let vault = Vault::start(params, &packs).await.context("the vault can't be opened")?;
    let receipts = Arc::new(receipts);
    Ok(Open { vault, master_keys: keyring, receipts, chunks, _held: held })
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
