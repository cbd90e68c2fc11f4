//! What a start does before it serves: compares packs and catalog, and makes the packs say what it holds.

use std::collections::BTreeMap;

use super::{
    Inner, WRITERS,
    reassert::{reassert, split},
    settle::settle,
};
use crate::{
    Error, ErrorKind, Result,
    catalog::{Commit, Outcome, RowKey},
    ids::ManifestId,
    pack::{BatchIndex, Chains, PackContents, PackSpan, PlacedBatch, RecordName, in_order},
};

/// Manifests that one batch voids.
const VOIDS: usize = 4096;

/// Checks that the catalog holds all that the packs say was acknowledged, then makes the packs agree with
/// it: after a crash they may name manifests that never became visible, or call ended what did not end.
pub(super) async fn recover(inner: &Inner, packs: &[PackContents]) -> Result<()> {
    let version = mark(inner).await?;
    let batches = || packs.iter().flat_map(|pack| &pack.batches);
    let acknowledged = batches().map(|batch| batch.index.acknowledged).max().unwrap_or(0);
    if version <= acknowledged {
        return Err(Error::corrupt(format!(
            "the catalog stands at commit {version} and acknowledged {acknowledged}: it lost \
             commits; restore it from its newest checkpoint"
        )));
    }
    inner.chunks.acknowledge(version);
    agree(inner, packs).await?;
    let read = packs.iter().filter(|pack| pack.unread.is_none());
    settle(inner, &read.map(|pack| pack.header.pack).collect::<Vec<_>>()).await
}

/// Commits this writer's own row; gives the version of that commit.
pub(super) async fn mark(inner: &Inner) -> Result<u64> {
    let mut own = Commit::new();
    own.put(RowKey::new(WRITERS, inner.writer.0), bytes::Bytes::new());
    match inner.catalog.commit(own).await? {
        Outcome::Applied { version } => Ok(version),
        Outcome::Conflict(_) | Outcome::Unknown => {
            Err(Error::new(ErrorKind::Unavailable, "the row of a writer"))
        }
    }
}

/// Makes what these packs say last of each manifest agree with the catalog: voids what it does not know,
/// and appends again what it kept and a removal voided.
async fn agree(inner: &Inner, packs: &[PackContents]) -> Result<()> {
    let by_id: BTreeMap<_, _> = packs.iter().map(|pack| (pack.header.pack, pack)).collect();
    let mut said = BTreeMap::new();
    let mut chains = Chains::default();
    for span in in_order(packs.iter().filter_map(PackSpan::of).collect()) {
        for batch in &by_id[&span.pack].batches {
            let next = PlacedBatch { pack: span.pack, batch: batch.clone() };
            chains.push(next).stands.iter().for_each(|placed| note(&mut said, &placed.batch.index));
        }
    }
    chains.finish().iter().for_each(|placed| note(&mut said, &placed.batch.index));
    void_unknown(inner, &saying(&said, Said::Here)).await?;
    reassert(inner, &saying(&said, Said::Void)).await
}

/// Voids those of `manifests` that the catalog does not know.
pub(super) async fn void_unknown(inner: &Inner, manifests: &[ManifestId]) -> Result<()> {
    for some in split(inner, manifests).await?.1.chunks(VOIDS) {
        inner.void(some.to_vec()).await?;
    }
    Ok(())
}

/// The manifests of which packs said `wanted` last.
pub(super) fn saying(said: &BTreeMap<ManifestId, Said>, wanted: Said) -> Vec<ManifestId> {
    said.iter().filter(|(_, said)| **said == wanted).map(|(id, _)| *id).collect()
}

/// What a batch says of a manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Said {
    /// It is here.
    Here,
    /// It is not visible.
    Void,
}

/// Voids of a batch count behind its records.
pub(super) fn note(said: &mut BTreeMap<ManifestId, Said>, index: &BatchIndex) {
    for record in &index.records {
        if let RecordName::Manifest(id) = record.name {
            said.insert(id, Said::Here);
        }
    }
    said.extend(index.voids.iter().map(|id| (*id, Said::Void)));
}
