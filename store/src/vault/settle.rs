//! Settled packs: those that agree with the catalog and are written no more, so that no start needs to read
//! them. A start settles what it finds; a running vault settles the packs that it closed, so that the next
//! start reads little however long this one ran.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::{
    Inner, PACKS,
    reassert::split,
    recover::{Said, note, saying, void_unknown},
};
use crate::{
    Error, ErrorKind, Result,
    catalog::{Catalog, Commit, Outcome, RowKey},
    ids::{ManifestId, PackId},
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

/// The packs that this process closed and has not settled, each with the visible manifests that it voids, as
/// far as that is known.
#[derive(Debug, Default)]
pub(super) struct Closed(Mutex<BTreeMap<PackId, Vec<ManifestId>>>);

impl Closed {
    /// All of them, `newly` closed ones among them.
    fn with(&self, newly: Vec<PackId>) -> BTreeMap<PackId, Vec<ManifestId>> {
        let mut closed = self.0.lock();
        closed.extend(newly.into_iter().map(|pack| (pack, Vec::new())));
        closed.clone()
    }

    /// Notes what `pack` voids although it is visible.
    fn voids(&self, pack: PackId, visible: Vec<ManifestId>) {
        self.0.lock().insert(pack, visible);
    }

    fn forget(&self, packs: &[PackId]) {
        self.0.lock().retain(|pack, _| !packs.contains(pack));
    }
}

/// What a look at a closed pack gave.
enum Look {
    /// It agrees with the catalog.
    Agrees,
    /// It voids what is visible, as of a removal that is under way.
    Waits,
    /// It was compacted away, or is damaged, which is a start's to judge.
    IsLeft,
}

impl Inner {
    /// Settles the packs that were closed since the start; gives how many.
    pub(super) async fn settle_closed(&self) -> Result<u64> {
        // So that no pack goes between a look at it and its row.
        let _pinned = self.pins.read().await;
        let closed = self.closed.with(self.chunks.take_closed());
        if closed.is_empty() {
            return Ok(0);
        }
        // These packs get no further record. Once the appends that put some there have ended, their uploads hold
        // them, or have their rows, or never will.
        self.in_flight.appends_ended().await;
        let held = self.in_flight.packs();
        let (mut settled, mut left, mut failed) = (Vec::new(), Vec::new(), None);
        for (pack, voids) in closed.into_iter().filter(|(pack, _)| !held.contains(pack)) {
            match self.look_at(pack, &voids).await {
                Ok(Look::Agrees) => settled.push(pack),
                Ok(Look::IsLeft) => left.push(pack),
                Ok(Look::Waits) => {}
                // The others are settled none the less; this one is looked at again.
                Err(cause) => failed = Some(cause),
            }
        }
        settle(self, &settled).await?;
        let count = settled.len() as u64;
        self.closed.forget(&[left, settled].concat());
        failed.map_or(Ok(count), Err)
    }

    async fn look_at(&self, pack: PackId, voids: &[ManifestId]) -> Result<Look> {
        if !self.visible(voids).await?.is_empty() {
            return Ok(Look::Waits);
        }
        let contents = match self.chunks.footer(pack).await {
            Ok(Some(contents)) if contents.is_whole() => contents,
            Ok(_) => return Ok(Look::IsLeft),
            Err(cause) => {
                tracing::debug!(%pack, %cause, "a closed pack is left to the next start");
                return Ok(Look::IsLeft);
            }
        };
        let visible = self.made_to_agree(&contents).await?;
        if visible.is_empty() {
            return Ok(Look::Agrees);
        }
        self.closed.voids(pack, visible);
        Ok(Look::Waits)
    }

    /// Voids the manifests of a pack that never became visible; gives what the pack voids and is visible, as a
    /// removal that is under way, or was taken back, leaves it. Without any, the pack agrees with the catalog.
    async fn made_to_agree(&self, contents: &PackContents) -> Result<Vec<ManifestId>> {
        let mut said = BTreeMap::new();
        contents.batches.iter().for_each(|batch| note(&mut said, &batch.index));
        let visible = self.visible(&saying(&said, Said::Void)).await?;
        if visible.is_empty() {
            void_unknown(self, &saying(&said, Said::Here)).await?;
        }
        Ok(visible)
    }

    /// Those of `manifests` that have a row.
    async fn visible(&self, manifests: &[ManifestId]) -> Result<Vec<ManifestId>> {
        let (visible, _) = split(self, manifests).await?;
        Ok(visible.into_iter().map(|(id, _)| id).collect())
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
