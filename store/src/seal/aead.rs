//! One message under a key of its own: "sealed under K with salt".

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use readvault_ambient::{Entropy, random};
use zeroize::Zeroizing;

use super::{KeyEncryptionKey, RecordError, SecretKey, key::Expander};

/// Bytes of an AES-256-GCM tag.
pub const TAG_BYTES: usize = 16;

/// Bytes of the salt that makes a key good for one message.
pub const SALT_BYTES: usize = 16;

/// Bytes by which a sealed message is longer than its plaintext.
pub const SALTED_OVERHEAD: usize = SALT_BYTES + TAG_BYTES;

/// What a message is sealed as: the label of its key and what it is bound to.
#[derive(Clone, Copy, Debug)]
pub struct Salted<'a> {
    /// Names the purpose in the key's derivation.
    pub label: &'static str,
    /// Authenticated with the message, not stored in it.
    pub aad: &'a [u8],
}

/// Seals `plain` under `Expand(key, label, salt16)` with a fresh salt and nonce 0, so that the key
/// seals once. Gives salt ‖ ciphertext ‖ tag.
pub fn seal_salted(
    key: &impl SecretKey,
    salted: Salted<'_>,
    plain: &[u8],
    entropy: &dyn Entropy,
) -> Vec<u8> {
    SaltedKey::new(key, salted.label).seal(salted.aad, plain, entropy)
}

/// Opens what [`seal_salted`] made, and wipes it when dropped.
///
/// # Errors
/// `Length` when it is shorter than salt and tag; `Authentication` when key, label, AAD or bytes
/// differ.
pub fn open_salted(
    key: &impl SecretKey,
    salted: Salted<'_>,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, RecordError> {
    SaltedKey::new(key, salted.label).open(salted.aad, sealed)
}

/// A key and the label under which it seals many messages. Wiped when dropped; prints nothing.
pub struct SaltedKey(Expander);

impl SaltedKey {
    /// The key `key` for messages of `label`.
    #[must_use]
    pub fn new(key: &impl SecretKey, label: &'static str) -> Self {
        Self(Expander::new(key, label))
    }

    /// As [`seal_salted`].
    #[must_use]
    pub fn seal(&self, aad: &[u8], plain: &[u8], entropy: &dyn Entropy) -> Vec<u8> {
        let salt: [u8; SALT_BYTES] = random(entropy);
        let mut out = Vec::with_capacity(plain.len() + SALTED_OVERHEAD);
        out.extend_from_slice(&salt);
        out.extend_from_slice(plain);
        let tag = self
            .message_key(&salt)
            .seal_in_place_separate_tag(zero_nonce(), Aad::from(aad), &mut out[SALT_BYTES..])
            .expect("a message is far below the limit of AES-GCM");
        out.extend_from_slice(tag.as_ref());
        out
    }

    /// As [`open_salted`].
    ///
    /// # Errors
    /// As [`open_salted`].
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, RecordError> {
        let (salt, rest) = sealed.split_first_chunk().ok_or(RecordError::Length)?;
        let length = rest.len().checked_sub(TAG_BYTES).ok_or(RecordError::Length)?;
        let (text, tag) = rest.split_at(length);
        let mut plain = Zeroizing::new(vec![0; length]);
        self.message_key(salt)
            .open_separate_gather(zero_nonce(), Aad::from(aad), text, tag, &mut plain)
            .map_err(|_| RecordError::Authentication)?;
        Ok(plain)
    }

    fn message_key(&self, salt: &[u8; SALT_BYTES]) -> LessSafeKey {
        cipher(&self.0.expand::<KeyEncryptionKey>(salt))
    }
}

impl fmt::Debug for SaltedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SaltedKey(redacted)")
    }
}

/// The cipher of `key`; whoever calls it answers for nonces.
pub(super) fn cipher(key: &impl SecretKey) -> LessSafeKey {
    let unbound = UnboundKey::new(&AES_256_GCM, key.expose());
    LessSafeKey::new(unbound.expect("a key of 32 bytes fits AES-256"))
}

fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}
