//! The files that a replay found visible, for whoever writes the rows that name them.

use std::sync::Arc;

use bytes::Bytes;
use readvault_ambient::{Clock, Entropy};

use super::{RebuildParams, replay::commit_all};
use crate::{
    Error, ErrorKind, Result,
    catalog::{Commit, Fold, PAGE_ITEMS_MAX, RowKey, ScanRange},
    chunk_store::Extent,
    ids::{ManifestId, WriterId},
    manifest::{ManifestHead, ManifestRow},
    vault::{
        FileRef, FileRole, Inner, Item, ItemKind, MANIFESTS, Store, Vault, VaultParams, gc,
        manifest_row,
    },
};

/// A visible file, as its manifest tells of it.
#[derive(Clone, Debug)]
pub struct Found {
    /// The item that it belongs to.
    pub item: Item,
    /// Which file of the item.
    pub role: FileRole,
    /// The file.
    pub file: FileRef,
    /// What was said of it when it was staged.
    pub metadata: Bytes,
    /// Its parts: runs of (number of parts, bytes of each).
    pub parts: Vec<(u32, u64)>,
}

/// A vault whose rows are being written again. It appends nothing.
#[derive(Debug)]
pub struct Rebuild {
    vault: Vault,
    inner: Arc<Inner>,
}

impl Rebuild {
    /// The vault over `params`, as far as a replay has brought it.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn new(
        params: &RebuildParams,
        entropy: Arc<dyn Entropy>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let epoch = gc::epoch(&*params.catalog).await?;
        let params = VaultParams {
            catalog: params.catalog.clone(),
            chunks: params.chunks.clone(),
            keys: params.keys.clone(),
            writer: WriterId::draw(&*entropy),
            entropy,
            clock,
            copy: None,
        };
        let vault = Vault::idle(params, epoch);
        let inner = vault.inner.clone();
        Ok(Self { vault, inner })
    }

    /// The vault, to read files and rows.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// A page of the manifests that are visible, behind `after`.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn visible(&self, after: Option<ManifestId>) -> Result<Vec<ManifestId>> {
        let mut range = ScanRange::prefix(MANIFESTS, []);
        if let Some(after) = after {
            range = range.after(after.0);
        }
        let page = self.inner.catalog.scan(&range, &Fold::default(), PAGE_ITEMS_MAX).await?;
        let id = |row: crate::catalog::Row| Some(ManifestId(*row.key.first_chunk()?));
        Ok(page.rows().filter_map(id).collect())
    }

    /// Whether `manifest` is visible.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn is_visible(&self, manifest: ManifestId) -> Result<bool> {
        let row = [manifest_row(manifest)];
        Ok(self.inner.catalog.read(&row).await?.into_iter().flatten().next().is_some())
    }

    /// Opens a visible file.
    ///
    /// # Errors
    /// `KeyUnavailable` when its shred slot was erased; `Corrupt` when its record is damaged, or names a
    /// kind or role that is not known here; `NotFound` when it is not visible.
    pub async fn open(&self, manifest: ManifestId) -> Result<Found> {
        let row = [manifest_row(manifest)];
        let row = self.inner.catalog.read(&row).await?.into_iter().flatten().next();
        let row = row.ok_or_else(|| Error::new(ErrorKind::NotFound, "manifest"))?;
        let ManifestRow { pack, offset, head_bytes, .. } = ManifestRow::decode(&row.value)?;
        let front = Extent { pack, offset, length: head_bytes };
        let front = self.inner.chunks.read(front).await?;
        let head = ManifestHead::open(&front, self.inner.keys.vault_key())?;
        let id = head.id();
        let unknown = || Error::corrupt("kind or role of a manifest");
        let kind = ItemKind::of(id.kind).ok_or_else(unknown)?;
        let role = FileRole::of(id.role).ok_or_else(unknown)?;
        let domain = self.inner.keys.domain_of(id.store)?;
        let store = Store { account: id.account.clone(), id: id.store, domain };
        let (key, item, slot) = (head.key(), id.item, id.slot);
        let (store_key_epoch, wrapped_seed) = (key.store_key_epoch, key.wrapped_seed.clone());
        let item = Item { store, id: item, kind, slot, store_key_epoch, wrapped_seed };
        let file = FileRef { store: id.store, manifest, length: 0 };
        let open = self.inner.open_anew(manifest).await?;
        let tail = open.manifest.tail(|range| open.fetch(&self.inner, range)).await?;
        let parts = open.manifest.part_runs().iter().map(|run| (run.count, run.length)).collect();
        let file = FileRef { length: open.manifest.length(), ..file };
        Ok(Found { item, role, file, metadata: tail.metadata, parts })
    }

    /// Takes out the rows of manifests that nothing names: the next start voids them. Durable with the
    /// next synced commit.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn leave_out(&self, manifests: &[ManifestId]) -> Result<()> {
        for some in manifests.chunks(PAGE_ITEMS_MAX) {
            let mut commit = Commit::new();
            for id in some {
                commit.delete(RowKey::new(MANIFESTS, id.0));
            }
            commit_all(&*self.inner.catalog, commit).await?;
        }
        Ok(())
    }
}
