//! What a start does before it serves: compares packs and catalog, and voids what was never committed.

use std::collections::BTreeSet;

use super::{Inner, PACKS, WRITERS, manifest_row};
use crate::{
    Error, Result,
    catalog::{Catalog, Commit, Outcome, RowKey},
    ids::{ManifestId, PackId},
    pack::{PackContents, PackEnd, RecordName},
};

/// Manifests that one read of the catalog looks up.
const LOOKUP: usize = 512;

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

/// Checks that the catalog holds all that the packs say was acknowledged, then voids the manifests of
/// packs without a footer that the catalog does not know.
pub(super) async fn recover(inner: &Inner, packs: &[PackContents]) -> Result<()> {
    let mut own = Commit::new();
    own.put(RowKey::new(WRITERS, inner.writer.0), bytes::Bytes::new());
    let Outcome::Applied { version } = inner.catalog.commit(own).await? else {
        return Err(Error::corrupt("the catalog refuses the row of a new writer"));
    };
    let batches = || packs.iter().flat_map(|pack| &pack.batches);
    let acknowledged = batches().map(|batch| batch.index.acknowledged).max().unwrap_or(0);
    if version <= acknowledged {
        return Err(Error::corrupt(format!(
            "the catalog stands at commit {version} and acknowledged {acknowledged}: it lost \
             commits; restore it from its newest checkpoint"
        )));
    }
    inner.chunks.acknowledge(version);
    let void: BTreeSet<_> = batches().flat_map(|batch| batch.index.voids.clone()).collect();
    let open = packs.iter().filter(|pack| pack.end != PackEnd::Closed);
    let candidates: Vec<_> = open
        .flat_map(|pack| &pack.batches)
        .flat_map(|batch| &batch.index.records)
        .filter_map(|record| match record.name {
            RecordName::Manifest(id) if !void.contains(&id) => Some(id),
            _ => None,
        })
        .collect();
    for some in candidates.chunks(LOOKUP) {
        inner.void(unknown(inner, some).await?).await?;
    }
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
            return Err(Error::corrupt("the catalog refuses the rows of packs"));
        };
        inner.chunks.acknowledge(version);
    }
    Ok(())
}

async fn unknown(inner: &Inner, manifests: &[ManifestId]) -> Result<Vec<ManifestId>> {
    let rows: Vec<_> = manifests.iter().map(|id| manifest_row(*id)).collect();
    let found = inner.catalog.read(&rows).await?;
    let missing = manifests.iter().zip(found).filter(|(_, row)| row.is_none());
    Ok(missing.map(|(id, _)| *id).collect())
}
