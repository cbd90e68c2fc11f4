//! Settled packs: those that agree with the catalog and are written no more, so that no start needs to read
//! them. A start settles what it finds; a running vault settles the packs that it closed, so that the next
//! start reads little however long this one ran.

use std::collections::BTreeMap;

use super::{
    Inner, PACKS,
    reassert::split,
    recover::{Said, note, saying, void_unknown},
};
use crate::{
    Error, ErrorKind, Result,
    catalog::{Catalog, Commit, Outcome, RowKey},
    ids::PackId,
    pack::PackContents,
};

/// Packs that one read of the catalog looks up.
const LOOKUP: usize = 512;

/// Rows that one commit settles.
const SETTLE: usize = 1024;

/// Those of `packs` that are not settled: all that must be read before a vault is opened.
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

/// Notes that these packs need no second look: nobody appends to them any more, and they agree with the catalog.
pub(super) async fn settle(inner: &Inner, packs: &[PackId]) -> Result<()> {
    for some in packs.chunks(SETTLE) {
        let mut commit = Commit::new();
        for pack in some {
            commit.put(RowKey::new(PACKS, pack.0), bytes::Bytes::new());
        }
        let Outcome::Applied { version } = inner.catalog.commit(commit).await? else {
            // It has no checks, so that a disk that fails is the only cause.
            return Err(Error::new(ErrorKind::Unavailable, "the rows of packs"));
        };
        inner.chunks.acknowledge(version);
    }
    Ok(())
}

impl Inner {
    /// Settles the packs that were closed since the start; gives how many.
    pub(super) async fn settle_closed(&self) -> Result<u64> {
        // So that no pack goes between the list and its row.
        let _pinned = self.pins.read().await;
        let closed = self.chunks.list().await?.into_iter().filter(|pack| !pack.open);
        let packs = unsettled(&*self.catalog, closed.map(|pack| pack.pack).collect()).await?;
        if packs.is_empty() {
            return Ok(0);
        }
        // A pack on this list gets no further record. Once the appends that put some there have ended, their
        // uploads hold it, or have their rows, or never will.
        self.in_flight.appends_ended().await;
        let held = self.in_flight.packs();
        let mut settled = Vec::new();
        for pack in packs.into_iter().filter(|pack| !held.contains(pack)) {
            // What was left without a footer is a start's to judge.
            if let Some(contents) = self.chunks.footer(pack).await?
                && contents.is_whole()
                && self.made_to_agree(&contents).await?
            {
                settled.push(pack);
            }
        }
        settle(self, &settled).await?;
        Ok(settled.len() as u64)
    }

    /// Voids the manifests of a pack that never became visible; whether the pack agrees with the catalog
    /// then. A removal that is under way, or was taken back, leaves a void of what is visible.
    async fn made_to_agree(&self, contents: &PackContents) -> Result<bool> {
        let mut said = BTreeMap::new();
        contents.batches.iter().for_each(|batch| note(&mut said, &batch.index));
        if !split(self, &saying(&said, Said::Void)).await?.0.is_empty() {
            return Ok(false);
        }
        void_unknown(self, &saying(&said, Said::Here)).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::{
        Committed, VaultCommit,
        bench::{Bench, noise},
    };

    /// So small that every batch has a pack of its own; more than the header of a pack.
    const BATCH_BYTES: u64 = 64;

    /// The closed packs that the next start would read.
    async fn left(bench: &Bench) -> usize {
        let packs = bench.vault.packs().await.unwrap();
        let closed = packs.iter().filter(|pack| !pack.open).map(|pack| pack.pack);
        unsettled(&*bench.catalog, closed.collect()).await.unwrap().len()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn closed_packs_are_settled_once_their_uploads_have_ended() {
        let bench = Bench::new().await;
        let bytes = noise(50_000);
        let open = bench.stage(&bytes).await;
        let given_up = bench.stage(&noise(50_000)).await;
        for _ in 0..10 {
            bench.put(&noise(50_000)).await;
        }
        drop(given_up);
        let closed = left(&bench).await;
        assert!(closed > 3);
        let settled = bench.vault.settle_packs().await.unwrap();
        assert_eq!((settled as usize, left(&bench).await), (closed - 1, 1), "one holds an upload");
        bench.publish(open, &bytes).await;
        assert_eq!(bench.vault.settle_packs().await.unwrap(), 1);
        assert_eq!((bench.vault.settle_packs().await.unwrap(), left(&bench).await), (0, 0));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_pack_is_not_settled_while_it_voids_what_is_visible() {
        let bench = Bench::with_pack_bytes(BATCH_BYTES).await;
        let put = bench.put(&noise(50_000)).await;
        let removes = vec![put.removal.clone()];
        let mut refused = VaultCommit { removes, ..VaultCommit::default() };
        refused.commit.unchanged(RowKey::new(PACKS, "absent"), 1);
        let conflict = bench.vault.commit(refused).await.unwrap();
        assert!(matches!(conflict, Committed::Conflict(_)));
        bench.vault.settle_packs().await.unwrap();
        assert_eq!(left(&bench).await, 1, "the pack of the void that was taken back");
        bench.delete(&put).await;
        // The first call voids again what ended, which closes a pack here.
        for _ in 0..2 {
            bench.vault.settle_packs().await.unwrap();
        }
        assert_eq!(left(&bench).await, 0);
    }
}
