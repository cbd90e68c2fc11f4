//! The embedded keyring: versioned root keys in one sealed file (`docs/format.md` §6.1).

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use readvault_ambient::{Entropy, random};
use zeroize::Zeroizing;

use super::{Context, KeyProvider, WrapKind, WrappedKey};
use crate::{
    Error, ErrorKind, Result,
    disk::{Disk, LocalDisk, OpenAs, read, replace},
    error,
    seal::{
        DataKey, KeyEncryptionKey, Reader, RecordError, RootKey, SALT_BYTES, Salted, SecretKey,
        expand, expand_public, extract_and_expand, open_salted, same, seal_salted, sha256,
    },
};

const MAGIC: [u8; 4] = *b"RVk1";
const KDF_RAW: u8 = 1;
const KDF_ARGON2ID: u8 = 2;
const HEADER_BYTES: usize = 4 + 1 + 12 + 16;
const ROOTS_MAX: usize = 1024;
const FILE_BYTES_MAX: usize = 64 << 10;

/// Highest cost that a keyring file may ask for, so that a changed file can't exhaust memory.
const MEMORY_KIB_MAX: u32 = 4 << 20;
const PASSES_MAX: u32 = 64;
const LANES_MAX: u32 = 64;

/// Cost of the passphrase's derivation (Argon2id).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PassphraseCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for PassphraseCost {
    /// 256 MiB, 3 passes, 4 lanes.
    fn default() -> Self {
        Self { memory_kib: 256 << 10, passes: 3, lanes: 4 }
    }
}

/// What opens a keyring file. There is no default and no built-in key.
pub enum KeySource {
    /// A passphrase, stretched by Argon2id.
    Passphrase(Zeroizing<String>),
    /// A file that holds 32 raw bytes, or 64 hexadecimal digits and perhaps a newline: a key file,
    /// or a credential that the service manager placed.
    File(PathBuf),
    /// 32 bytes that the caller has already read (a file descriptor).
    Raw(Zeroizing<[u8; 32]>),
}

impl std::fmt::Debug for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Passphrase(..) => "KeySource::Passphrase(redacted)",
            Self::File(_) => "KeySource::File",
            Self::Raw(_) => "KeySource::Raw(redacted)",
        })
    }
}

/// Root keys by version. New keys are wrapped under the newest; older versions still unwrap.
#[derive(Debug)]
pub struct Keyring {
    disk: Arc<dyn Disk>,
    roots: BTreeMap<u32, RootKey>,
    cost: PassphraseCost,
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
        let roots = BTreeMap::from([(1, RootKey::draw(&*entropy))]);
        let keyring = Self { disk, roots, cost, entropy };
        keyring.write(path, source)?;
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
        let (roots, cost) = open_file(&file, source)?;
        Ok(Self { disk, roots, cost, entropy })
    }

    /// Adds a root key and rewrites the file: from now on new keys are wrapped under it. The old
    /// file is replaced as a whole or not at all.
    ///
    /// # Errors
    /// As [`Keyring::create`].
    pub fn rotate(&mut self, path: &Path, source: &KeySource) -> Result<()> {
        let version = self.newest() + 1;
        self.roots.insert(version, RootKey::draw(&*self.entropy));
        let written = self.write(path, source);
        if written.is_err() {
            self.roots.remove(&version);
        }
        written
    }

    /// The newest version.
    #[must_use]
    pub fn newest(&self) -> u32 {
        *self.roots.last_key_value().expect("a keyring has a root key").0
    }

    fn write(&self, path: &Path, source: &KeySource) -> Result<()> {
        let file = self.seal_file(source)?;
        replace(&*self.disk, path, &file).map_err(error::io("keyring file"))
    }

    fn seal_file(&self, source: &KeySource) -> Result<Vec<u8>> {
        let salt: [u8; 16] = random(&*self.entropy);
        let (kdf, cost) = match source {
            KeySource::Passphrase(_) => (KDF_ARGON2ID, self.cost),
            _ => (KDF_RAW, PassphraseCost { memory_kib: 0, passes: 0, lanes: 0 }),
        };
        let mut out = MAGIC.to_vec();
        out.push(kdf);
        for field in [cost.memory_kib, cost.passes, cost.lanes] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&salt);
        let key = file_key(source, kdf, cost, &salt)?;
        out.extend_from_slice(&expand_public(&key, "keyring-file-com", &[&salt]));
        let count = u32::try_from(self.roots.len()).expect("root keys are few");
        let mut plain = Zeroizing::new(Vec::with_capacity(4 + 36 * self.roots.len()));
        plain.extend_from_slice(&count.to_le_bytes());
        for (version, root) in &self.roots {
            plain.extend_from_slice(&version.to_le_bytes());
            plain.extend_from_slice(root.expose());
        }
        let aad = sha256(&[&out]);
        let salted = Salted { label: "keyring-file", aad: &aad };
        out.extend_from_slice(&seal_salted(&key, salted, &plain, &*self.entropy));
        Ok(out)
    }
}

#[async_trait]
impl KeyProvider for Keyring {
    async fn generate(&self, context: &Context) -> Result<(DataKey, WrappedKey)> {
        let key = DataKey::draw(&*self.entropy);
        let version = self.newest();
        let bytes = wrap(&self.roots[&version], &key, context, &*self.entropy);
        let key_id = format!("keyring/v{version}");
        Ok((key, WrappedKey { kind: WrapKind::Keyring, key_id, bytes }))
    }

    async fn unwrap(&self, wrapped: &WrappedKey, context: &Context) -> Result<DataKey> {
        let version = wrapped.key_id.strip_prefix("keyring/v").and_then(|v| v.parse().ok());
        let root = version.and_then(|version: u32| self.roots.get(&version));
        let unknown = || Error::new(ErrorKind::KeyUnavailable, "unknown root key");
        let root = root.filter(|_| wrapped.kind == WrapKind::Keyring).ok_or_else(unknown)?;
        Ok(unwrap(root, &wrapped.bytes, context)?)
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

fn open_file(file: &[u8], source: &KeySource) -> Result<(BTreeMap<u32, RootKey>, PassphraseCost)> {
    let refused =
        |cause: RecordError| Error::new(ErrorKind::KeyUnavailable, "keyring file").because(cause);
    let mut fields = Reader::new(file);
    let magic = fields.array::<4>().map_err(refused)?;
    let kdf = fields.u8().map_err(refused)?;
    let mut number = || fields.u32().map_err(refused);
    let cost = PassphraseCost { memory_kib: number()?, passes: number()?, lanes: number()? };
    let salt = fields.array::<16>().map_err(refused)?;
    if magic != MAGIC || kdf != kdf_of(source) {
        return Err(Error::new(
            ErrorKind::KeyUnavailable,
            "the keyring has another kind of source",
        ));
    }
    let key = file_key(source, kdf, cost, &salt)?;
    let commitment = fields.array::<32>().map_err(refused)?;
    if !same(&commitment, &expand_public(&key, "keyring-file-com", &[&salt])) {
        return Err(Error::new(ErrorKind::KeyUnavailable, "the source does not open the keyring"));
    }
    let aad = sha256(&[&file[..HEADER_BYTES + 32]]);
    let salted = Salted { label: "keyring-file", aad: &aad };
    let plain = open_salted(&key, salted, fields.rest()).map_err(refused)?;
    let roots = decode_roots(&plain).map_err(refused)?;
    // A keyring by key file has no cost; should it ever move to a passphrase, it takes the default.
    let cost = if kdf == KDF_ARGON2ID { cost } else { PassphraseCost::default() };
    Ok((roots, cost))
}

fn decode_roots(plain: &[u8]) -> Result<BTreeMap<u32, RootKey>, RecordError> {
    let mut fields = Reader::new(plain);
    let count = fields.count(36)?;
    let mut roots = BTreeMap::new();
    for _ in 0..count {
        let version = fields.u32()?;
        if roots.last_key_value().is_some_and(|(last, _)| *last >= version) {
            return Err(RecordError::Form("versions of root keys"));
        }
        let root = fields.take(32)?.try_into().expect("take gives the length asked for");
        roots.insert(version, RootKey::from_bytes(root));
    }
    fields.end()?;
    let some = (1..=ROOTS_MAX).contains(&roots.len());
    if some { Ok(roots) } else { Err(RecordError::Form("count of root keys")) }
}

fn kdf_of(source: &KeySource) -> u8 {
    match source {
        KeySource::Passphrase(..) => KDF_ARGON2ID,
        KeySource::File(_) | KeySource::Raw(_) => KDF_RAW,
    }
}

/// The key that seals the file.
fn file_key(
    source: &KeySource,
    kdf: u8,
    cost: PassphraseCost,
    salt: &[u8; 16],
) -> Result<KeyEncryptionKey> {
    let stretched = match source {
        KeySource::Passphrase(passphrase) => stretch(passphrase, cost, salt)?,
        KeySource::File(path) => read_key_file(path)?,
        KeySource::Raw(bytes) => KeyEncryptionKey::from_bytes(bytes),
    };
    Ok(expand(&stretched, "keyring-source", &[&[kdf], salt]))
}

fn stretch(passphrase: &str, cost: PassphraseCost, salt: &[u8; 16]) -> Result<KeyEncryptionKey> {
    let PassphraseCost { memory_kib, passes, lanes } = cost;
    if memory_kib > MEMORY_KIB_MAX || passes > PASSES_MAX || lanes > LANES_MAX {
        return Err(Error::corrupt("cost of the keyring's passphrase"));
    }
    let bad_cost = |_| Error::corrupt("cost of the keyring's passphrase");
    let params = argon2::Params::new(memory_kib, passes, lanes, Some(32)).map_err(bad_cost)?;
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let mut key = Zeroizing::new([0; 32]);
    argon2
        .hash_password_into(passphrase.as_bytes(), salt, &mut *key)
        .map_err(|_| Error::new(ErrorKind::KeyUnavailable, "the passphrase can't be used"))?;
    Ok(KeyEncryptionKey::from_bytes(&key))
}

/// 32 raw bytes, or 64 hexadecimal digits and perhaps a newline.
fn read_key_file(path: &Path) -> Result<KeyEncryptionKey> {
    let unusable = || Error::new(ErrorKind::KeyUnavailable, "a key file holds 32 bytes");
    let length = fs::metadata(path).map_err(error::io("key file"))?.len();
    if !(32..=66).contains(&length) {
        return Err(unusable());
    }
    let bytes = Zeroizing::new(fs::read(path).map_err(error::io("key file"))?);
    if let Ok(raw) = bytes.as_slice().try_into() {
        return Ok(KeyEncryptionKey::from_bytes(raw));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| unusable())?.trim_end();
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(unusable());
    }
    let mut key = Zeroizing::new([0; 32]);
    for (index, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| unusable())?;
    }
    Ok(KeyEncryptionKey::from_bytes(&key))
}
