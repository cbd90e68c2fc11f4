//! Settled packs: those that agree with the catalog and are written no more, so that no start needs to read
//! them. A start settles what it finds; a running vault settles the packs that it closed, so that the next
//! start reads little however long this one ran.

use std::collections::BTreeMap;

use super::{
    Inner, PACKS,
    reassert::split,
    recover::{Said, VOIDS, note},
};
use crate::{
    Error, ErrorKind, Result,
    catalog::{Catalog, Commit, Outcome, RowKey},
    ids::{ManifestId, PackId},
    pack::{PackContents, PackEnd},
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
pub(super) async fn settle(inner: &Inner, packs: impl Iterator<Item = PackId>) -> Result<()> {
    let packs: Vec<_> = packs.collect();
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
            let contents = self.chunks.summary(pack).await?;
            // What could not be read to its end is a start's to judge.
            let whole = contents.end == PackEnd::Closed && contents.damaged.is_empty();
            if whole && self.made_to_agree(&contents).await? {
                settled.push(pack);
            }
        }
        let count = settled.len() as u64;
        settle(self, settled.into_iter()).await?;
        Ok(count)
    }

    /// Voids the manifests of a pack that never became visible; whether the pack agrees with the catalog
    /// then. A removal that is under way, or was taken back, leaves a void of what is visible.
    async fn made_to_agree(&self, contents: &PackContents) -> Result<bool> {
        let mut said = BTreeMap::new();
        contents.batches.iter().for_each(|batch| note(&mut said, &batch.index));
        let of = |wanted| -> Vec<ManifestId> {
            said.iter().filter(move |(_, said)| **said == wanted).map(|(id, _)| *id).collect()
        };
        if !split(self, &of(Said::Void)).await?.0.is_empty() {
            return Ok(false);
        }
        for some in split(self, &of(Said::Here)).await?.1.chunks(VOIDS) {
            self.void(some.to_vec()).await?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use futures::stream;
    use readvault_ambient::{Entropy, System};

    use super::*;
    use crate::{
        catalog::memory::MemoryCatalog,
        testing::MemoryVault,
        vault::{
            BodyError, Committed, DomainChoice, FileRole, FileSpec, ItemKind, Metadata, Removal,
            SlotChoice, Staged, Store, Vault, VaultCommit,
        },
    };

    /// Small packs, so that some are closed.
    const PACK_BYTES: u64 = 64 << 10;

    /// So small that every batch has a pack of its own; more than the header of a pack.
    const BATCH_BYTES: u64 = 64;

    struct Bench {
        vault: Vault,
        catalog: Arc<MemoryCatalog>,
        store: Store,
        _directory: tempfile::TempDir,
    }

    impl Bench {
        async fn new(pack_bytes: u64) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let made = MemoryVault::new(directory.path(), pack_bytes).await.unwrap();
            let MemoryVault { vault, catalog, .. } = made;
            let store = vault.create_store("123456789012", DomainChoice::Own).await.unwrap();
            Self { vault, catalog, store, _directory: directory }
        }

        async fn stage(&self) -> (Removal, Staged) {
            let mut bytes = vec![0; 50_000];
            System.fill(&mut bytes);
            let (kind, slot) = (ItemKind::Object, SlotChoice::OfStore);
            let item = self.vault.new_item(&self.store, kind, slot).await.unwrap();
            let id = item.id;
            let spec = FileSpec::new(item, FileRole::Part, Metadata::None);
            let body = stream::iter([Ok::<_, BodyError>(Bytes::from(bytes))]);
            let staged = self.vault.stage(spec, body).await.unwrap();
            (Removal { item: id, files: vec![staged.file().clone()] }, staged)
        }

        async fn publish(&self, staged: Staged) {
            self.apply(VaultCommit { files: vec![staged], ..VaultCommit::default() }).await;
        }

        async fn apply(&self, commit: VaultCommit) {
            let applied = self.vault.commit(commit).await.unwrap();
            assert!(matches!(applied, Committed::Applied { .. }));
        }

        /// The closed packs that the next start would read.
        async fn left(&self) -> usize {
            let packs = self.vault.packs().await.unwrap();
            let closed = packs.iter().filter(|pack| !pack.open).map(|pack| pack.pack);
            unsettled(&*self.catalog, closed.collect()).await.unwrap().len()
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn closed_packs_are_settled_once_their_uploads_have_ended() {
        let bench = Bench::new(PACK_BYTES).await;
        let (_, open) = bench.stage().await;
        let (_, given_up) = bench.stage().await;
        for _ in 0..10 {
            let (_, staged) = bench.stage().await;
            bench.publish(staged).await;
        }
        drop(given_up);
        let closed = bench.left().await;
        assert!(closed > 3);
        let settled = bench.vault.settle_packs().await.unwrap();
        assert_eq!((settled as usize, bench.left().await), (closed - 1, 1), "one holds an upload");
        bench.publish(open).await;
        assert_eq!(bench.vault.settle_packs().await.unwrap(), 1);
        assert_eq!((bench.vault.settle_packs().await.unwrap(), bench.left().await), (0, 0));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_pack_is_not_settled_while_it_voids_what_is_visible() {
        let bench = Bench::new(BATCH_BYTES).await;
        let (removal, staged) = bench.stage().await;
        bench.publish(staged).await;
        let mut refused = VaultCommit { removes: vec![removal.clone()], ..VaultCommit::default() };
        refused.commit.unchanged(RowKey::new(PACKS, "absent"), 1);
        let conflict = bench.vault.commit(refused).await.unwrap();
        assert!(matches!(conflict, Committed::Conflict(_)));
        bench.vault.settle_packs().await.unwrap();
        assert_eq!(bench.left().await, 1, "the pack of the void that was taken back");
        bench.apply(VaultCommit { removes: vec![removal], ..VaultCommit::default() }).await;
        // The first call voids again what ended, which closes a pack here.
        for _ in 0..2 {
            bench.vault.settle_packs().await.unwrap();
        }
        assert_eq!(bench.left().await, 0);
    }
}
