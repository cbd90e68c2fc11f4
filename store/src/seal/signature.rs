//! Signatures that a stranger can check: Ed25519 under a key that only the holder of the vault key has.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::{SecretKey, SigningSeed, VaultKey, expand};

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// Signs with the Ed25519 key whose seed is `Expand(VK, label)`.
pub struct Signer(Ed25519KeyPair);

impl Signer {
    /// The signer of `label` of the vault whose key is `vault_key`.
    #[must_use]
    pub fn derive(vault_key: &VaultKey, label: &str) -> Self {
        let seed: SigningSeed = expand(vault_key, label, &[]);
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose());
        Self(pair.expect("any 32 bytes are a seed of Ed25519"))
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().expect("public keys of Ed25519 have 32 bytes")
    }

    /// The signature of `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.0.sign(message).as_ref().try_into().expect("signatures of Ed25519 have 64 bytes")
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(redacted)")
    }
}

/// Whether `signature` is that of `message` under the public key `public`.
#[must_use]
pub fn is_signed(public: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
}
