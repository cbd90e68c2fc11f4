//! One message under a key of its own: "sealed under K with salt".

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use readvault_ambient::{Entropy, random};
use zeroize::Zeroizing;

use super::{KeyEncryptionKey, RecordError, SecretKey, expand};

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
    let salt: [u8; SALT_BYTES] = random(entropy);
    let message = message_key(key, salted.label, &salt);
    let mut out = Vec::with_capacity(plain.len() + SALTED_OVERHEAD);
    out.extend_from_slice(&salt);
    out.extend_from_slice(plain);
    let tag = message
        .seal_in_place_separate_tag(zero_nonce(), Aad::from(salted.aad), &mut out[SALT_BYTES..])
        .expect("a message is far below the limit of AES-GCM");
    out.extend_from_slice(tag.as_ref());
    out
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
    let (salt, rest) = sealed.split_at_checked(SALT_BYTES).ok_or(RecordError::Length)?;
    let length = rest.len().checked_sub(TAG_BYTES).ok_or(RecordError::Length)?;
    let (text, tag) = rest.split_at(length);
    let mut plain = Zeroizing::new(vec![0; length]);
    message_key(key, salted.label, salt.try_into().expect("the salt was split off by its length"))
        .open_separate_gather(zero_nonce(), Aad::from(salted.aad), text, tag, &mut plain)
        .map_err(|_| RecordError::Authentication)?;
    Ok(plain)
}

/// The cipher of `key`; whoever calls it answers for nonces.
pub(super) fn cipher(key: &impl SecretKey) -> LessSafeKey {
    let unbound = UnboundKey::new(&AES_256_GCM, key.expose());
    LessSafeKey::new(unbound.expect("a key of 32 bytes fits AES-256"))
}

fn message_key(key: &impl SecretKey, label: &str, salt: &[u8; SALT_BYTES]) -> LessSafeKey {
    cipher(&expand::<KeyEncryptionKey>(key, label, &[salt]))
}

fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}
