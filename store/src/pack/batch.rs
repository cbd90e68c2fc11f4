//! What is appended at once.

use bytes::Bytes;

use super::{RecordName, Tombstone};
use crate::{chunk::SealedChunk, ids::ManifestId, manifest::SealedManifest};

/// One sealed record, ready for a pack. Made of a sealed chunk or manifest and of nothing else.
#[derive(Clone, Debug)]
pub struct SealedRecord {
    name: RecordName,
    bytes: Bytes,
}

impl SealedRecord {
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
}

impl From<&SealedChunk> for SealedRecord {
    fn from(chunk: &SealedChunk) -> Self {
        let name = RecordName::Chunk(chunk.domain(), chunk.header().id);
        Self { name, bytes: chunk.record().clone() }
    }
}

impl From<&SealedManifest> for SealedRecord {
    fn from(manifest: &SealedManifest) -> Self {
        Self { name: RecordName::Manifest(manifest.id()), bytes: manifest.record().clone() }
    }
}

/// Records, tombstones and voids that become durable together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The records, in the order in which they are laid out.
    pub records: Vec<SealedRecord>,
    /// Items that end.
    pub tombstones: Vec<Tombstone>,
    /// Manifests that were appended before and never became visible.
    pub voids: Vec<ManifestId>,
    /// The writer's sequence that this belongs to; 0 when it belongs to none.
    pub sequence: u64,
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
        self.records.len() + self.tombstones.len() + self.voids.len()
    }
}
