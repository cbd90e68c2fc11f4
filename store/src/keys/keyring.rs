//! The embedded keyring: versioned root keys in one sealed file (`docs/format.md` §6.1).

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use parking_lot::RwLock;
use readvault_ambient::Entropy;

use super::{
    Context, KeyProvider, KeySource, MasterKeys, PassphraseCost, WrapKind, WrappedKey,
    keyring_file::{FileSeal, ROOTS_MAX},
};
use crate::{
    Error, ErrorKind, Result,
    disk::{Disk, LocalDisk, OpenAs, read, replace},
    error,
    seal::{
        DataKey, KeyEncryptionKey, RecordError, RootKey, SALT_BYTES, Salted, SecretKey,
        expand_public, extract_and_expand, open_salted, same, seal_salted, sha256,
    },
};

/// Beginning of a root key's name; its version follows.
const NAME: &str = "keyring/v";

const FILE_BYTES_MAX: usize = 64 << 10;

/// Root keys by version. New keys are wrapped under the newest; older versions still unwrap.
#[derive(Debug)]
pub struct Keyring {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    seal: FileSeal,
    roots: RwLock<BTreeMap<u32, RootKey>>,
    entropy: Arc<dyn Entropy>,
}

impl Keyring {
    /// Makes a keyring with one new root key and writes it to the new file `path` (mode 0600),
    /// sealed by `source`. Durable when it returns.
    ///
    /// # Errors
    /// `AlreadyExists`; `KeyUnavailable` when `source` gives no key; `NoSpace`, `Unavailable`.
    pub fn create(path: &Path, source: &KeySource, entropy: Arc<dyn Entropy>) -> Result<Self> {
        Self::create_at_cost(path, source, PassphraseCost::default(), entropy)
    }

    /// As [`Keyring::create`], with a passphrase of another cost; other sources have none.
    ///
    /// # Errors
    /// As [`Keyring::create`].
    pub fn create_at_cost(
        path: &Path,
        source: &KeySource,
        cost: PassphraseCost,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        Self::create_on(Arc::new(LocalDisk), path, source, cost, entropy)
    }

    /// As [`Keyring::create_at_cost`], with the file on `disk`.
    ///
    /// # Errors
    /// As [`Keyring::create`].
    pub fn create_on(
        disk: Arc<dyn Disk>,
        path: &Path,
        source: &KeySource,
        cost: PassphraseCost,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        match disk.open(path, OpenAs::Read) {
            Ok(_) => return Err(Error::new(ErrorKind::AlreadyExists, "keyring file")),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(error::io("keyring file")(cause)),
        }
        let roots = RwLock::new(BTreeMap::from([(1, RootKey::draw(&*entropy))]));
        let seal = FileSeal::new(source, cost, &*entropy)?;
        let keyring = Self { disk, path: path.to_owned(), seal, roots, entropy };
        keyring.write(&keyring.roots.read())?;
        Ok(keyring)
    }

    /// Opens the keyring file `path`.
    ///
    /// # Errors
    /// `NotFound`; `KeyUnavailable` when `source` gives no key or a wrong one, or the file was
    /// changed.
    pub fn open(path: &Path, source: &KeySource, entropy: Arc<dyn Entropy>) -> Result<Self> {
        Self::open_on(Arc::new(LocalDisk), path, source, entropy)
    }

    /// As [`Keyring::open`], with the file on `disk`.
    ///
    /// # Errors
    /// As [`Keyring::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        path: &Path,
        source: &KeySource,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        let file = read(&*disk, path, FILE_BYTES_MAX).map_err(|cause| match cause.kind() {
            io::ErrorKind::InvalidData => Error::corrupt("keyring file"),
            _ => error::io("keyring file")(cause),
        })?;
        let (seal, roots) = FileSeal::open(&file, source)?;
        let roots = RwLock::new(roots);
        Ok(Self { disk, path: path.to_owned(), seal, roots, entropy })
    }

    /// Seals the file anew, by another source: the old one opens it no more. The old file is replaced
    /// as a whole or not at all. Its copies elsewhere still open by the old source.
    ///
    /// # Errors
    /// As [`Keyring::create`].
    pub fn reseal(&mut self, source: &KeySource, cost: PassphraseCost) -> Result<()> {
        let seal = FileSeal::new(source, cost, &*self.entropy)?;
        let old = std::mem::replace(&mut self.seal, seal);
        let written = self.write(&self.roots.read());
        if written.is_err() {
            self.seal = old;
        }
        written
    }

    fn write(&self, roots: &BTreeMap<u32, RootKey>) -> Result<()> {
        let file = self.seal.seal(roots, &*self.entropy);
        replace(&*self.disk, &self.path, &file).map_err(error::io("keyring file"))
    }
}

impl MasterKeys for Keyring {
    fn names(&self) -> Vec<String> {
        self.roots.read().keys().map(|version| format!("{NAME}{version}")).collect()
    }

    fn add(&self) -> Result<String> {
        let mut roots = self.roots.write();
        if roots.len() >= ROOTS_MAX {
            let what = "root keys of a keyring; retire some that wrap nothing";
            return Err(Error::new(ErrorKind::LimitExceeded, what));
        }
        let version = newest(&roots) + 1;
        roots.insert(version, RootKey::draw(&*self.entropy));
        if let Err(cause) = self.write(&roots) {
            // The file may hold the new root all the same: nothing is wrapped under it.
            roots.remove(&version);
            return Err(cause);
        }
        Ok(format!("{NAME}{version}"))
    }

    fn retire(&self, name: &str) -> Result<()> {
        let mut roots = self.roots.write();
        let unknown = || Error::new(ErrorKind::NotFound, format!("root key {name}"));
        let version = version_of(name).ok_or_else(unknown)?;
        if version == newest(&roots) {
            return Err(Error::new(ErrorKind::Precondition, "the newest root key is in use"));
        }
        let root = roots.remove(&version).ok_or_else(unknown)?;
        if let Err(cause) = self.write(&roots) {
            roots.insert(version, root);
            return Err(cause);
        }
        Ok(())
    }
}

fn newest(roots: &BTreeMap<u32, RootKey>) -> u32 {
    *roots.last_key_value().expect("a keyring has a root key").0
}

fn version_of(name: &str) -> Option<u32> {
    name.strip_prefix(NAME)?.parse().ok()
}

#[async_trait]
impl KeyProvider for Keyring {
    fn newest(&self) -> String {
        format!("{NAME}{}", newest(&self.roots.read()))
    }

    async fn generate(&self, context: &Context) -> Result<(DataKey, WrappedKey)> {
        let key = DataKey::draw(&*self.entropy);
        let wrapped = self.wrap(&key, context);
        Ok((key, wrapped))
    }

    async fn unwrap(&self, wrapped: &WrappedKey, context: &Context) -> Result<DataKey> {
        let roots = self.roots.read();
        let root = version_of(&wrapped.key_id).and_then(|version| roots.get(&version));
        let unknown = || Error::new(ErrorKind::KeyUnavailable, "unknown root key");
        let root = root.filter(|_| wrapped.kind == WrapKind::Keyring).ok_or_else(unknown)?;
        Ok(unwrap(root, &wrapped.bytes, context)?)
    }

    async fn rewrap(&self, wrapped: &WrappedKey, context: &Context) -> Result<WrappedKey> {
        let key = self.unwrap(wrapped, context).await?;
        Ok(self.wrap(&key, context))
    }
}

impl Keyring {
    /// Wraps `key` under the newest root key.
    fn wrap(&self, key: &DataKey, context: &Context) -> WrappedKey {
        let roots = self.roots.read();
        let version = newest(&roots);
        let bytes = wrap(&roots[&version], key, context, &*self.entropy);
        WrappedKey { kind: WrapKind::Keyring, key_id: format!("{NAME}{version}"), bytes }
    }
}

/// Wraps `key`: salt ‖ commitment ‖ ciphertext ‖ tag, under HKDF(root, SHA-256(context)).
pub(super) fn wrap(
    root: &RootKey,
    key: &DataKey,
    context: &Context,
    entropy: &dyn Entropy,
) -> Vec<u8> {
    let context = context.encode();
    let wrapping = wrapping_key(root, &context);
    let salted = Salted { label: "keyring-wrap", aad: &context };
    let sealed = seal_salted(&wrapping, salted, key.expose(), entropy);
    let (salt, rest) = sealed.split_at(SALT_BYTES);
    let commitment = expand_public(&wrapping, "keyring-com", &[salt]);
    [salt, &commitment, rest].concat()
}

/// Unwraps what [`wrap`] made.
pub(super) fn unwrap(
    root: &RootKey,
    wrapped: &[u8],
    context: &Context,
) -> Result<DataKey, RecordError> {
    let context = context.encode();
    let wrapping = wrapping_key(root, &context);
    let (salt, rest) = wrapped.split_at_checked(SALT_BYTES).ok_or(RecordError::Length)?;
    let (commitment, rest) = rest.split_at_checked(32).ok_or(RecordError::Length)?;
    if !same(commitment, &expand_public(&wrapping, "keyring-com", &[salt])) {
        return Err(RecordError::Authentication);
    }
    let salted = Salted { label: "keyring-wrap", aad: &context };
    let plain = open_salted(&wrapping, salted, &[salt, rest].concat())?;
    let key = plain.as_slice().try_into().map_err(|_| RecordError::Length)?;
    Ok(DataKey::from_bytes(key))
}

fn wrapping_key(root: &RootKey, context: &[u8]) -> KeyEncryptionKey {
    extract_and_expand(root, &sha256(&[context]), "keyring", &[])
}
