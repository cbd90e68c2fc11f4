//! Key types, and how one key is derived from another.

use std::fmt;

use aws_lc_rs::{hkdf, hmac};
use readvault_ambient::Entropy;
use zeroize::{Zeroize, Zeroizing};

use super::wire::{lp, put_lp};

/// A 256-bit secret with one purpose.
///
/// The types that implement it have no `Clone` and no `Copy`, print nothing, live on the heap (so
/// that a move leaves no copy behind) and are wiped when dropped.
///
/// ```compile_fail
/// use readvault_store::seal::{SecretKey, VaultKey};
/// let key = VaultKey::from_bytes(&[7; 32]);
/// let copy = key.clone();
/// ```
///
/// ```compile_fail
/// use readvault_store::seal::{SecretKey, VaultKey};
/// let key = VaultKey::from_bytes(&[7; 32]);
/// let (first, second) = (key, key);
/// ```
///
/// ```
/// use readvault_store::seal::{SecretKey, VaultKey};
/// let key = VaultKey::from_bytes(&[7; 32]);
/// assert_eq!(format!("{key:?}"), "VaultKey(redacted)");
/// ```
pub trait SecretKey: Sized + fmt::Debug {
    /// A key whose bytes `fill` writes.
    fn filled(fill: impl FnOnce(&mut [u8; 32])) -> Self;

    /// The bytes, for the primitive that uses them and for nothing else.
    fn expose(&self) -> &[u8; 32];

    /// The key of these bytes; the caller wipes its own copy.
    fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self::filled(|key| key.copy_from_slice(bytes))
    }

    /// A new random key.
    fn draw(entropy: &dyn Entropy) -> Self {
        Self::filled(|key| entropy.fill(key))
    }
}

macro_rules! secret_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name(Box<[u8; 32]>);

        impl SecretKey for $name {
            fn filled(fill: impl FnOnce(&mut [u8; 32])) -> Self {
                let mut bytes = Box::new([0; 32]);
                fill(&mut bytes);
                Self(bytes)
            }

            fn expose(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                self.0.zeroize();
            }
        }
    };
}

secret_key!(
    /// VK: seals batch indexes and the id and key blocks of manifests.
    VaultKey
);
secret_key!(
    /// CATK: seals the catalog's values and files.
    CatalogKey
);
secret_key!(
    /// SK: seals the domain secrets and item seeds of one store.
    StoreKey
);
secret_key!(
    /// A key as a key provider gives it, before it has a purpose.
    DataKey
);
secret_key!(
    /// One version of the keyring's root.
    RootKey
);
secret_key!(
    /// What opens a keyring file, or wraps one data key: derived, never stored.
    KeyEncryptionKey
);
secret_key!(
    /// DS: the secret of one epoch of one deduplication domain. It names chunks; it opens none that
    /// its holder can't guess.
    DomainSecret
);
secret_key!(
    /// K_h: hashes content.
    HashKey
);
secret_key!(
    /// K_id: names chunks.
    IdKey
);
secret_key!(
    /// K_ck: from a content hash to a chunk's root key.
    ChunkKey
);
secret_key!(
    /// K_fid: names files.
    FileIdKey
);
secret_key!(
    /// CKR: opens one chunk. Kept in sealed manifests only.
    ChunkRootKey
);
secret_key!(
    /// Kenc: seals the frames of one chunk.
    ChunkEncryptionKey
);
secret_key!(
    /// The random half of an item's key; kept sealed under the store's key.
    ItemSeed
);
secret_key!(
    /// The erasable half of an item's key; kept in a shred slot.
    ShredSecret
);
secret_key!(
    /// IK: opens the manifests of one item.
    ItemKey
);
secret_key!(
    /// MR: the root key of one manifest.
    ManifestRootKey
);
secret_key!(
    /// Seals the body frames of one manifest.
    ManifestEncryptionKey
);

secret_key!(
    /// The seed of an Ed25519 key.
    SigningSeed
);

/// `Expand(key, label, fields…)`: HKDF-Expand-SHA-256 to 32 bytes, info = LP("rv1/" + label) ‖
/// fields. Fields of variable length must already carry theirs (`lp`).
pub fn expand<K: SecretKey>(key: &impl SecretKey, label: &str, fields: &[&[u8]]) -> K {
    K::filled(|out| expand_into(key, label, fields, out))
}

/// As [`expand`], to a value that is no secret (a commitment).
pub(crate) fn expand_public(key: &impl SecretKey, label: &str, fields: &[&[u8]]) -> [u8; 32] {
    let mut out = [0; 32];
    expand_into(key, label, fields, &mut out);
    out
}

fn expand_into(key: &impl SecretKey, label: &str, fields: &[&[u8]], out: &mut [u8; 32]) {
    let prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, key.expose());
    fill(&prk, label, fields, out);
}

/// HKDF-SHA-256 (extract, then expand to 32 bytes) of `secret` with `salt`; info as in [`expand`].
pub fn extract_and_expand<K: SecretKey>(
    secret: &impl SecretKey,
    salt: &[u8; 32],
    label: &str,
    fields: &[&[u8]],
) -> K {
    // HKDF's extract is HMAC under the salt. The library's own takes salts for public and leaves copies of
    // them in memory that is given back; the salt of an item's key is a secret.
    let mut extracted = Zeroizing::new([0; 32]);
    let key = hmac::Key::new(hmac::HMAC_SHA256, salt);
    hmac::sign_to_buffer(&key, secret.expose(), &mut *extracted)
        .expect("the buffer has the length of an HMAC-SHA-256");
    let prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &*extracted);
    K::filled(|out| fill(&prk, label, fields, out))
}

/// [`expand`] of one key and label over many fields: what does not change is computed once. Wiped when dropped.
pub(super) struct Expander {
    key: hmac::Key,
    label: Vec<u8>,
}

impl Expander {
    pub(super) fn new(key: &impl SecretKey, label: &str) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
        Self { key, label: lp(format!("rv1/{label}").as_bytes()) }
    }

    /// `Expand(key, label, field)`: 32 bytes are the first block of HKDF-Expand (RFC 5869, section 2.3), which is
    /// HMAC(key, info ‖ 01).
    pub(super) fn expand<K: SecretKey>(&self, field: &[u8]) -> K {
        let info = [&self.label, field, &[1]].concat();
        K::filled(|out| {
            hmac::sign_to_buffer(&self.key, &info, out)
                .expect("the buffer has the length of an HMAC-SHA-256");
        })
    }
}

fn fill(prk: &hkdf::Prk, label: &str, fields: &[&[u8]], out: &mut [u8; 32]) {
    let mut info = Vec::with_capacity(128);
    put_lp(&mut info, format!("rv1/{label}").as_bytes());
    fields.iter().for_each(|field| info.extend_from_slice(field));
    prk.expand(&[&info], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(out))
        .expect("32 bytes are within the limit of HKDF");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expander_derives_what_hkdf_does() {
        let key = StoreKey::from_bytes(&[7; 32]);
        for field in [&b""[..], &[3; 16], &[9; 300]] {
            let wanted: ChunkKey = expand(&key, "row", &[field]);
            let got: ChunkKey = Expander::new(&key, "row").expand(field);
            assert_eq!(got.expose(), wanted.expose());
        }
    }
}
