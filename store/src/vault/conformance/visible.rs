//! Compares all that can be seen with the model.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::TryStreamExt;

use super::machine::{Machine, NAMES_TABLE, name_row};
use crate::{
    ErrorKind, Result,
    catalog::{Fold, Row, ScanRange, Table},
    ids::ManifestId,
    pack::{Chains, PackSpan, PlacedBatch, RecordName, in_order},
    vault::{FileRef, MANIFESTS},
};

/// Items of one page: few, so that scans go on.
const PAGE_ITEMS: usize = 5;

impl Machine<'_> {
    pub(super) async fn read(&self, name: u8) {
        let Some(entry) = self.model.names.get(&name) else { return };
        let read = self.whole(&entry.file).await;
        if entry.is_erased {
            let cause = read.expect_err("a file whose slot was erased can't be read");
            return assert_eq!(cause.kind(), ErrorKind::KeyUnavailable);
        }
        if let Some(bytes) = self.keyed(read) {
            assert!(bytes == entry.bytes, "name {name} holds other bytes");
        }
    }

    async fn whole(&self, file: &FileRef) -> Result<Bytes> {
        let reader = self.running.vault.open_file(file).await?;
        assert_eq!(reader.length(), file.length);
        let pieces: Vec<_> = reader.stream(0..file.length).try_collect().await?;
        Ok(pieces.concat().into())
    }

    pub(super) async fn read_range(&self, name: u8, start: u16, end: u16) {
        let Some(entry) = self.model.names.get(&name).filter(|entry| !entry.is_erased) else {
            return;
        };
        let at = |part: u16| entry.bytes.len() * usize::from(part) / usize::from(u16::MAX);
        let (start, end) = (at(start.min(end)), at(start.max(end)));
        let read = async {
            let reader = self.running.vault.open_file(&entry.file).await?;
            reader.read(start as u64..end as u64).await
        };
        if let Some(bytes) = self.keyed(read.await) {
            assert!(bytes == entry.bytes[start..end], "name {name} holds other bytes there");
        }
    }

    /// The names, the manifests, and the files that must not be found.
    pub(super) async fn list(&self) {
        let rows = self.rows(NAMES_TABLE).await;
        let found: Vec<_> = rows.into_iter().map(|row| (row.key, row.value.to_vec())).collect();
        let names = self.model.names.iter();
        let expected: Vec<_> = names.map(|(name, entry)| (vec![*name], name_row(entry))).collect();
        assert_eq!(found, expected, "the names are not those of the model");
        assert_eq!(self.manifests().await, self.named_manifests(), "rows of manifests");
        for file in &self.model.gone {
            let found = self.running.vault.open_file(file).await;
            let cause = found.expect_err("a file that was removed or refused is not found");
            assert_eq!(cause.kind(), ErrorKind::NotFound);
        }
    }

    /// All of it: what is listed, each byte, and what the packs say.
    pub(super) async fn look_at_everything(&self) {
        self.list().await;
        for name in self.model.names.keys() {
            self.read(*name).await;
        }
        self.packs().await;
    }

    /// What a rebuild would find: the packs end by calling just those manifests visible that are named, and
    /// no batch of any writer is missing.
    async fn packs(&self) {
        let chunks = &self.running.chunks;
        let mut packs = BTreeMap::new();
        for pack in chunks.packs().expect("the packs can be listed") {
            let contents = chunks.contents(pack).await.expect("a pack can be read");
            assert_eq!(contents.damaged, [], "pack {pack}");
            packs.insert(pack, contents);
        }
        let indexes = packs.values().flat_map(|pack| &pack.batches).map(|batch| &batch.index);
        let bridges: Vec<_> = indexes.flat_map(|index| index.bridges.clone()).collect();
        let (mut chains, mut visible) = (Chains::over(&bridges), BTreeSet::new());
        for span in in_order(packs.values().filter_map(PackSpan::of).collect()) {
            for batch in &packs[&span.pack].batches {
                let followed = chains.push(PlacedBatch { pack: span.pack, batch: batch.clone() });
                assert_eq!(followed.gap, None, "a batch is missing");
                followed.stands.iter().for_each(|placed| take_in(&mut visible, placed));
            }
        }
        chains.finish().iter().for_each(|placed| take_in(&mut visible, placed));
        assert_eq!(visible, self.named_manifests(), "what a rebuild would bring back");
    }

    fn named_manifests(&self) -> BTreeSet<ManifestId> {
        self.model.names.values().map(|entry| entry.file.manifest).collect()
    }

    async fn manifests(&self) -> BTreeSet<ManifestId> {
        let rows = self.rows(MANIFESTS).await.into_iter();
        rows.map(|row| ManifestId(row.key.try_into().expect("a key of 16 bytes"))).collect()
    }

    pub(super) async fn rows(&self, table: Table) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut range = ScanRange::prefix(table, "");
        loop {
            let catalog = self.running.vault.catalog();
            let page = catalog.scan(&range, &Fold::default(), PAGE_ITEMS).await;
            let page = page.expect("the catalog can be read");
            let next = page.next.clone();
            rows.extend(page.rows());
            match next {
                Some(next) => range = range.from(next),
                None => return rows,
            }
        }
    }
}

/// What a batch says: its records are visible, what it voids is not.
fn take_in(visible: &mut BTreeSet<ManifestId>, placed: &PlacedBatch) {
    for record in &placed.batch.index.records {
        if let RecordName::Manifest(id) = record.name {
            visible.insert(id);
        }
    }
    visible.retain(|id| !placed.batch.index.voids.contains(id));
}
