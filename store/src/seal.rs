//! Key derivation, authenticated encryption and frames: the primitives of sealing scheme RV1.
//!
//! Pure functions over slices; nothing here reads a file, a clock or a catalog. Records are made of
//! these in `chunk`, `manifest` and `pack`; wrapped keys in `keys`. The bytes are fixed by
//! `docs/format.md`; every derivation has a test vector.

mod aead;
mod frames;
mod key;
mod padding;
mod secret_buffer;
mod signature;
mod wire;

pub use aead::{
    SALT_BYTES, SALTED_OVERHEAD, Salted, SaltedKey, TAG_BYTES, open_salted, seal_salted,
};
pub use frames::{FRAME_BYTES, Frames, PREFIX_BYTES, SEALED_FRAME_BYTES};
pub(crate) use key::expand_public;
pub use key::{
    CatalogKey, ChunkEncryptionKey, ChunkKey, ChunkRootKey, DataKey, DomainSecret, FileIdKey,
    HashKey, IdKey, ItemKey, ItemSeed, KeyEncryptionKey, ManifestEncryptionKey, ManifestRootKey,
    RootKey, SecretKey, ShredSecret, SigningSeed, StoreKey, VaultKey, expand, extract_and_expand,
};
pub use padding::{padded_length, padme};
pub(crate) use secret_buffer::SecretBuffer;
pub use signature::{SIGNATURE_BYTES, Signer, is_signed};
pub(crate) use wire::Reader;
pub use wire::{lp, put_lp};

/// Why bytes at rest were refused. All failures under a key look alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end too early or go on too long.
    #[error("the record is cut short or runs on")]
    Length,
    /// A field is not as the format demands.
    #[error("the record is malformed: {0}")]
    Form(&'static str),
    /// A CRC32C does not match.
    #[error("the record fails its checksum")]
    Checksum,
    /// A commitment, a tag, or a name that was computed again does not match.
    #[error("the record does not open under its key")]
    Authentication,
    /// A version, codec or representation that this program does not know.
    #[error("the record is of an unknown version, codec or representation")]
    Unsupported,
}

impl From<RecordError> for crate::Error {
    fn from(cause: RecordError) -> Self {
        Self::corrupt("stored record").because(cause)
    }
}

/// SHA-256 of the concatenated `parts`.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().try_into().expect("SHA-256 gives 32 bytes")
}

/// Whether two public values are equal, in time that does not depend on where they differ.
pub(crate) fn same(left: &[u8], right: &[u8]) -> bool {
    subtle::ConstantTimeEq::ct_eq(left, right).into()
}
