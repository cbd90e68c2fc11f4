//! What is appended at once.

use bytes::Bytes;

use super::{Bridge, RecordName, Tombstone};
use crate::{
    chunk::{SealedChunk, check_record},
    ids::ManifestId,
    manifest::{SealedManifest, check_manifest},
    seal::RecordError,
};

/// Whether a record is new to the packs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// It is: where its batch fails it was never stored.
    New,
    /// It is a copy of one that stays where it is.
    Copy,
}

/// One sealed record, ready for a pack. Made of a sealed chunk or manifest, or read back from a pack.
#[derive(Clone, Debug)]
pub struct SealedRecord {
    name: RecordName,
    bytes: Bytes,
    origin: Origin,
}

impl SealedRecord {
    /// A record as it was read back from a pack, to be appended to another.
    ///
    /// # Errors
    /// `Checksum`, `Length`, `Form` when it is damaged; `Authentication` when it is not `name`.
    pub fn stored(name: RecordName, bytes: Bytes) -> Result<Self, RecordError> {
        let is_named = match name {
            RecordName::Chunk(_, id) => check_record(&bytes)?.id == id,
            RecordName::Manifest(id) => check_manifest(&bytes)? == id,
        };
        if !is_named {
            return Err(RecordError::Authentication);
        }
        Ok(Self { name, bytes, origin: Origin::Copy })
    }

    /// What the record holds.
    #[must_use]
    pub fn name(&self) -> RecordName {
        self.name
    }

    /// The record's bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether it is new to the packs.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }
}

impl From<&SealedChunk> for SealedRecord {
    fn from(chunk: &SealedChunk) -> Self {
        let name = RecordName::Chunk(chunk.domain(), chunk.header().id);
        Self { name, bytes: chunk.record().clone(), origin: Origin::New }
    }
}

impl From<&SealedManifest> for SealedRecord {
    fn from(manifest: &SealedManifest) -> Self {
        let name = RecordName::Manifest(manifest.id());
        Self { name, bytes: manifest.record().clone(), origin: Origin::New }
    }
}

/// Records, tombstones and voids that become durable together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The records, in the order in which they are laid out.
    pub records: Vec<SealedRecord>,
    /// Items that end.
    pub tombstones: Vec<Tombstone>,
    /// Manifests that were appended before and are not visible: they never were, or end now.
    pub voids: Vec<ManifestId>,
    /// Packs that are compacted away once this is durable.
    pub bridges: Vec<Bridge>,
}

impl Batch {
    /// Bytes of the records.
    #[must_use]
    pub fn record_bytes(&self) -> u64 {
        self.records.iter().map(|record| record.bytes.len() as u64).sum()
    }

    /// How many things the index must name.
    #[must_use]
    pub fn entry_count(&self) -> usize {
        self.records.len() + self.tombstones.len() + self.voids.len() + self.bridges.len()
    }
}
