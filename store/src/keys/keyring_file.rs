//! The file form of a keyring (`docs/format.md` §6.1): what seals it, and the root keys in it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use readvault_ambient::{Entropy, random};
use zeroize::Zeroizing;

use crate::{
    Error, ErrorKind, Result, error,
    seal::{
        KeyEncryptionKey, Reader, RecordError, RootKey, Salted, SecretKey, expand, expand_public,
        open_salted, same, seal_salted, sha256,
    },
};

const MAGIC: [u8; 4] = *b"RVk1";
const KDF_RAW: u8 = 1;
const KDF_ARGON2ID: u8 = 2;
const HEADER_BYTES: usize = 4 + 1 + 12 + 16;

/// Most root keys of one keyring.
pub(super) const ROOTS_MAX: usize = 1024;

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

/// What seals a keyring's file: kept with the open keyring, so that the file can be written again without
/// its source.
#[derive(Debug)]
pub(super) struct FileSeal {
    header: Vec<u8>,
    key: KeyEncryptionKey,
}

impl FileSeal {
    /// A new seal by `source`, with a salt of its own.
    pub(super) fn new(
        source: &KeySource,
        cost: PassphraseCost,
        entropy: &dyn Entropy,
    ) -> Result<Self> {
        let salt: [u8; 16] = random(entropy);
        let (kdf, cost) = match source {
            KeySource::Passphrase(_) => (KDF_ARGON2ID, cost),
            _ => (KDF_RAW, PassphraseCost { memory_kib: 0, passes: 0, lanes: 0 }),
        };
        let mut header = MAGIC.to_vec();
        header.push(kdf);
        for field in [cost.memory_kib, cost.passes, cost.lanes] {
            header.extend_from_slice(&field.to_le_bytes());
        }
        header.extend_from_slice(&salt);
        let key = file_key(source, kdf, cost, &salt)?;
        header.extend_from_slice(&expand_public(&key, "keyring-file-com", &[&salt]));
        Ok(Self { header, key })
    }

    /// The file that holds `roots`.
    pub(super) fn seal(&self, roots: &BTreeMap<u32, RootKey>, entropy: &dyn Entropy) -> Vec<u8> {
        let count = u32::try_from(roots.len()).expect("root keys are few");
        let mut plain = Zeroizing::new(Vec::with_capacity(4 + 36 * roots.len()));
        plain.extend_from_slice(&count.to_le_bytes());
        for (version, root) in roots {
            plain.extend_from_slice(&version.to_le_bytes());
            plain.extend_from_slice(root.expose());
        }
        let aad = sha256(&[&self.header]);
        let salted = Salted { label: "keyring-file", aad: &aad };
        [&self.header[..], &seal_salted(&self.key, salted, &plain, entropy)].concat()
    }

    /// Opens a file by `source`: what seals it, and its root keys.
    pub(super) fn open(file: &[u8], source: &KeySource) -> Result<(Self, BTreeMap<u32, RootKey>)> {
        let refused = |cause: RecordError| {
            Error::new(ErrorKind::KeyUnavailable, "keyring file").because(cause)
        };
        let mut fields = Reader::new(file);
        let magic = fields.array::<4>().map_err(refused)?;
        let kdf = fields.u8().map_err(refused)?;
        let mut number = || fields.u32().map_err(refused);
        let cost = PassphraseCost { memory_kib: number()?, passes: number()?, lanes: number()? };
        let salt = fields.array::<16>().map_err(refused)?;
        if magic != MAGIC || kdf != kdf_of(source) {
            let what = "the keyring has another kind of source";
            return Err(Error::new(ErrorKind::KeyUnavailable, what));
        }
        let key = file_key(source, kdf, cost, &salt)?;
        let commitment = fields.array::<32>().map_err(refused)?;
        if !same(&commitment, &expand_public(&key, "keyring-file-com", &[&salt])) {
            let what = "the source does not open the keyring";
            return Err(Error::new(ErrorKind::KeyUnavailable, what));
        }
        let header = file[..HEADER_BYTES + 32].to_vec();
        let aad = sha256(&[&header]);
        let salted = Salted { label: "keyring-file", aad: &aad };
        let plain = open_salted(&key, salted, fields.rest()).map_err(refused)?;
        let roots = decode_roots(&plain).map_err(refused)?;
        Ok((Self { header, key }, roots))
    }
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
