//! Rows that point into packs which are not there.

use std::collections::HashSet;

use super::{RebuildParams, replay::commit_all};
use crate::{
    Result,
    catalog::{Catalog, Commit, Durability, Fold, PAGE_ITEMS_MAX, RowKey, ScanRange, Table},
    ids::PackId,
    vault::{CHUNKS, MANIFESTS},
};

/// Takes out all rows of chunks and manifests whose pack is gone; a chunk that is referred to no more would
/// else be chosen again. Gives how many. Durable when it returns.
pub(super) async fn remove(params: &RebuildParams) -> Result<u64> {
    let packs: HashSet<PackId> = params.chunks.packs()?.into_iter().collect();
    let mut removed = 0;
    for table in [CHUNKS, MANIFESTS] {
        removed += remove_from(&*params.catalog, table, &packs).await?;
    }
    // What is ordered becomes durable with a synced commit; this one changes nothing: no id is zeros.
    let mut last = Commit { durability: Durability::Synced, ..Commit::new() };
    last.delete(RowKey::new(MANIFESTS, [0; 16]));
    commit_all(&*params.catalog, last).await?;
    Ok(removed)
}

async fn remove_from(catalog: &dyn Catalog, table: Table, packs: &HashSet<PackId>) -> Result<u64> {
    let mut range = ScanRange::prefix(table, []);
    let mut removed = 0;
    loop {
        let page = catalog.scan(&range, &Fold::default(), PAGE_ITEMS_MAX).await?;
        let next = page.next.clone();
        let mut commit = Commit { durability: Durability::Ordered, ..Commit::new() };
        for row in page.rows() {
            let pack = row.value.first_chunk().map(|id| PackId(*id));
            if !pack.is_some_and(|pack| packs.contains(&pack)) {
                removed += 1;
                commit.delete(RowKey::new(table, row.key));
            }
        }
        commit_all(catalog, commit).await?;
        match next {
            Some(next) => range = range.from(next),
            None => return Ok(removed),
        }
    }
}
