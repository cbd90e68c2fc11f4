//! Laying out batches and the index that ends them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{Extent, StoreParams};
use crate::{
    ids::ManifestId,
    pack::{Batch, BatchIndex, IndexEntry, IndexPlace, Origin, RecordName, chain_hash},
};

/// A writer's chain of indexes, across its packs.
#[derive(Debug)]
pub(super) struct Chain {
    params: StoreParams,
    acknowledged: Arc<AtomicU64>,
    /// Number of the last batch that was tried; 0 before the first.
    sequence: u64,
    previous: [u8; 32],
    /// New manifests of batches that failed: each may or may not lie in a pack, and none may ever
    /// count.
    voids: Vec<ManifestId>,
}

/// Batches laid out at one place, not yet written.
#[derive(Debug)]
pub(super) struct LaidOut {
    /// For each batch, where its records go.
    pub(super) extents: Vec<Vec<Extent>>,
    /// The sealed index behind them.
    pub(super) index: Vec<u8>,
    sequence: u64,
}

impl Chain {
    pub(super) fn new(params: StoreParams, acknowledged: Arc<AtomicU64>) -> Self {
        Self { params, acknowledged, sequence: 0, previous: [0; 32], voids: Vec::new() }
    }

    /// Lays out `batches` from `start` of the pack of `place`.
    pub(super) fn lay_out(&self, batches: &[&Batch], place: IndexPlace, start: u64) -> LaidOut {
        let mut at = start;
        let mut records = Vec::new();
        let mut extents = Vec::with_capacity(batches.len());
        for batch in batches {
            let mut of_batch = Vec::with_capacity(batch.records.len());
            for record in &batch.records {
                let length = u32::try_from(record.bytes().len()).expect("a record is below 4 GiB");
                of_batch.push(Extent { pack: place.pack, offset: at, length });
                records.push(IndexEntry { name: record.name(), offset: at, length });
                at += u64::from(length);
            }
            extents.push(of_batch);
        }
        let sequence = self.sequence + 1;
        let voids = batches.iter().flat_map(|batch| &batch.voids).chain(&self.voids);
        let index = BatchIndex {
            writer: self.params.writer,
            sequence,
            acknowledged: self.acknowledged.load(Ordering::SeqCst),
            previous: self.previous,
            start,
            records,
            tombstones: batches.iter().flat_map(|batch| batch.tombstones.clone()).collect(),
            voids: voids.copied().collect(),
            bridges: batches.iter().flat_map(|batch| batch.bridges.clone()).collect(),
        };
        let index = index.seal(place, &self.params.vault_key, &*self.params.entropy);
        LaidOut { extents, index, sequence }
    }

    /// `laid_out` is durable.
    pub(super) fn advance(&mut self, laid_out: &LaidOut) {
        self.sequence = laid_out.sequence;
        self.previous = chain_hash(&laid_out.index);
        self.voids.clear();
    }

    /// `batches` failed: whether they are on the disk is not known.
    pub(super) fn fail(&mut self, batches: &[&Batch]) {
        self.sequence += 1;
        let records = batches.iter().flat_map(|batch| &batch.records);
        let new = records.filter(|record| record.origin() == Origin::New);
        self.voids.extend(new.filter_map(|record| match record.name() {
            RecordName::Manifest(id) => Some(id),
            RecordName::Chunk(..) => None,
        }));
    }

    pub(super) fn params(&self) -> &StoreParams {
        &self.params
    }
}
