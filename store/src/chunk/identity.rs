//! Names and keys that follow from content.

use std::fmt;

use readvault_ambient::{Entropy, random};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{ChunkId, ChunkRef, Naming, PlainChunk, seal::commitment};
use crate::{
    ids::DomainId,
    seal::{
        ChunkKey, ChunkRootKey, DomainSecret, FileIdKey, HashKey, IdKey, SecretKey, expand, same,
    },
};

/// The four keys of one epoch of a domain: they hash, name and derive; none of them opens anything.
#[derive(Debug)]
pub struct DomainKeys {
    domain: DomainId,
    epoch: u32,
    hash: HashKey,
    id: IdKey,
    chunk: ChunkKey,
    file: FileIdKey,
}

impl DomainKeys {
    /// Derives the keys of `epoch` of `domain` from its secret.
    #[must_use]
    pub fn derive(secret: &DomainSecret, domain: DomainId, epoch: u32) -> Self {
        Self {
            domain,
            epoch,
            hash: expand(secret, "h", &[]),
            id: expand(secret, "id", &[]),
            chunk: expand(secret, "ck", &[]),
            file: expand(secret, "fid", &[]),
        }
    }

    /// The domain that these are the keys of.
    #[must_use]
    pub fn domain(&self) -> DomainId {
        self.domain
    }

    /// The epoch of the secret that these were derived from.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The identity of a chunk by its content.
    #[must_use]
    pub fn identify(&self, chunk: &PlainChunk) -> ChunkIdentity {
        let hash = self.content_hash(chunk.as_bytes());
        self.identity(hash, Naming::Keyed, chunk.length())
    }

    /// h of `bytes`: keyed BLAKE3 of the unpadded bytes.
    fn content_hash(&self, bytes: &[u8]) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(blake3::keyed_hash(self.hash.expose(), bytes).into())
    }

    fn identity(&self, hash: Zeroizing<[u8; 32]>, naming: Naming, length: u32) -> ChunkIdentity {
        let id = ChunkId(blake3::keyed_hash(self.id.expose(), &*hash).into());
        let key = expand(&self.chunk, "chunk", &[&*hash]);
        ChunkIdentity { domain: self.domain, epoch: self.epoch, naming, hash, id, key, length }
    }
}

/// An identity drawn at random, for a domain that must not tell equal chunks (`dedup = off`).
#[must_use]
pub fn random_identity(
    keys: &DomainKeys,
    chunk: &PlainChunk,
    entropy: &dyn Entropy,
) -> ChunkIdentity {
    keys.identity(Zeroizing::new(random(entropy)), Naming::Random, chunk.length())
}

/// What follows from the content of one chunk: its hash (never stored), its name and its root key.
pub struct ChunkIdentity {
    domain: DomainId,
    epoch: u32,
    naming: Naming,
    hash: Zeroizing<[u8; 32]>,
    id: ChunkId,
    pub(super) key: ChunkRootKey,
    pub(super) length: u32,
}

impl ChunkIdentity {
    /// The domain that the chunk belongs to.
    #[must_use]
    pub fn domain(&self) -> DomainId {
        self.domain
    }

    /// The chunk's name.
    #[must_use]
    pub fn id(&self) -> ChunkId {
        self.id
    }

    /// Whether a stored record with this commitment is sealed under this chunk's key: what is not
    /// must not be reused.
    #[must_use]
    pub fn commits_to(&self, stored: &[u8; 32]) -> bool {
        same(&commitment(&self.key), stored)
    }

    /// The chunk as a manifest names it.
    #[must_use]
    pub fn into_ref(self) -> ChunkRef {
        ChunkRef {
            domain: self.domain,
            epoch: self.epoch,
            naming: self.naming,
            id: self.id,
            key: self.key,
            length: self.length,
        }
    }
}

impl fmt::Debug for ChunkIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkIdentity({})", self.id)
    }
}

/// The id of a file's content within its domain.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileId(pub [u8; 32]);

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileId(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// Computes a file's id from the hashes of its chunks, in order, without a second pass over the
/// bytes.
pub struct FileIdHasher {
    domain: DomainId,
    state: blake3::Hasher,
}

impl FileIdHasher {
    /// The hasher of a file that has no bytes yet.
    #[must_use]
    pub fn new(keys: &DomainKeys) -> Self {
        let state = blake3::Hasher::new_keyed(keys.file.expose());
        Self { domain: keys.domain, state }
    }

    /// Adds the next chunk.
    pub fn chunk(&mut self, identity: &ChunkIdentity) {
        self.state.update(&*identity.hash);
    }

    /// Adds the bytes of a file that lives in its manifest, as if they were one chunk; none, none.
    pub fn inline(&mut self, keys: &DomainKeys, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.state.update(&*keys.content_hash(bytes));
        }
    }

    /// The id.
    #[must_use]
    pub fn finish(self) -> FileId {
        FileId(self.state.finalize().into())
    }
}

impl fmt::Debug for FileIdHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileIdHasher({})", self.domain)
    }
}
