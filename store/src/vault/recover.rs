//! What a start does before it serves: compares packs and catalog, and makes the packs say what it holds.

use std::collections::BTreeMap;

use super::{
    Inner, PACKS, WRITERS,
    reassert::{reassert, split},
};
use crate::{
    Error, ErrorKind, Result,
    catalog::{Catalog, Commit, Outcome, RowKey},
    ids::{ManifestId, PackId},
    pack::{Chains, PackContents, PackSpan, PlacedBatch, RecordName, in_order},
};

/// Manifests that one read of the catalog looks up.
const LOOKUP: usize = 512;

/// Manifests that one batch voids.
const VOIDS: usize = 4096;

/// Rows that one commit settles.
const SETTLE: usize = 1024;

/// Those of `packs` that no earlier start has settled: all that must be read before a vault is opened.
///
/// # Errors
/// Those of the catalog.
pub async fn unsettled(catalog: &dyn Catalog, packs: Vec<PackId>) -> Result<Vec<PackId>> {
    let mut open = Vec::new();
    for some in packs.chunks(LOOKUP) {
        let rows: Vec<_> = some.iter().map(|pack| RowKey::new(PACKS, pack.0)).collect();
        let found = catalog.read(&rows).await?;
        open.extend(some.iter().zip(found).filter(|(_, row)| row.is_none()).map(|(pack, _)| *pack));
    }
    Ok(open)
}

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
    settle(inner, packs).await
}

/// Notes that these packs need no second look: nobody appends to a pack of an earlier start.
async fn settle(inner: &Inner, packs: &[PackContents]) -> Result<()> {
    for some in packs.chunks(SETTLE) {
        let mut commit = Commit::new();
        for pack in some {
            commit.put(RowKey::new(PACKS, pack.header.pack.0), bytes::Bytes::new());
        }
        let Outcome::Applied { version } = inner.catalog.commit(commit).await? else {
            // It has no checks, so that a disk that fails is the only cause.
            return Err(Error::new(ErrorKind::Unavailable, "the rows of packs"));
        };
        inner.chunks.acknowledge(version);
    }
    Ok(())
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
            chains.push(next).stands.iter().for_each(|placed| note(&mut said, placed));
        }
    }
    chains.finish().iter().for_each(|placed| note(&mut said, placed));
    let of = |wanted| said.iter().filter(move |(_, said)| **said == wanted).map(|(id, _)| *id);
    let (here, void): (Vec<_>, Vec<_>) = (of(Said::Here).collect(), of(Said::Void).collect());
    for some in split(inner, &here).await?.1.chunks(VOIDS) {
        inner.void(some.to_vec()).await?;
    }
    reassert(inner, &void).await
}

/// What a batch says of a manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Said {
    /// It is here.
    Here,
    /// It is not visible.
    Void,
}

/// Voids of a batch count behind its records.
fn note(said: &mut BTreeMap<ManifestId, Said>, placed: &PlacedBatch) {
    for record in &placed.batch.index.records {
        if let RecordName::Manifest(id) = record.name {
            said.insert(id, Said::Here);
        }
    }
    said.extend(placed.batch.index.voids.iter().map(|id| (*id, Said::Void)));
}
