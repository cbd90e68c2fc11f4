use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use futures::stream;
use proptest::prelude::*;
use readvault_ambient::System;

use super::*;
use crate::{
    Result,
    catalog::{
        Commit, Fold, PAGE_ITEMS_MAX, ScanRange, Table,
        memory::{Fault, MemoryCatalog},
    },
    chunk_store::{ChunkStore, StoreParams},
    ids::{ManifestId, WriterId},
    keys::{MemoryKeyProvider, VaultKeysParams},
    pack::RecordName,
    vault::{
        CHUNKS, DomainChoice, FileRef, FileRole, FileSpec, ItemKind, MANIFESTS, Metadata, Removal,
        SlotChoice, Staged, Store, Vault, VaultCommit, VaultParams,
    },
};

/// One start of a vault over pack files, and the catalog that outlives it.
struct Start {
    vault: Vault,
    chunks: Arc<LocalChunkStore>,
    keys: Arc<VaultKeys>,
    catalog: Arc<MemoryCatalog>,
}

impl Start {
    async fn new(
        directory: &Path,
        catalog: Arc<MemoryCatalog>,
        provider: Arc<MemoryKeyProvider>,
    ) -> Self {
        let entropy = Arc::new(System);
        let keys = VaultKeys::open(VaultKeysParams {
            directory: directory.to_owned(),
            provider,
            clock: Arc::new(System),
            entropy: entropy.clone(),
        });
        let keys = Arc::new(keys.await.unwrap());
        let writer = WriterId::draw(&System);
        let vault_key = keys.vault_key().clone();
        let params = StoreParams { vault_key, writer, entropy: entropy.clone() };
        let chunks = Arc::new(LocalChunkStore::open(directory.join("packs"), params).unwrap());
        let mut packs = Vec::new();
        let unsettled = crate::vault::unsettled(&*catalog, chunks.packs().unwrap()).await.unwrap();
        for pack in unsettled {
            packs.push(chunks.summary(pack).await.unwrap());
        }
        let params = VaultParams {
            catalog: catalog.clone(),
            chunks: chunks.clone(),
            keys: keys.clone(),
            entropy,
            clock: Arc::new(System),
            writer,
            copy: None,
        };
        let vault = Vault::start(params, &packs).await.unwrap();
        Self { vault, chunks, keys, catalog }
    }

    /// None when a fault hit the row of a chunk.
    async fn stage(&self, store: &Store, bytes: Bytes) -> Option<Staged> {
        let item = self.vault.new_item(store, ItemKind::Object, SlotChoice::OfStore).await.unwrap();
        let name = Metadata::Known(Bytes::from_static(b"name"));
        let spec = FileSpec::new(item, FileRole::Object, name);
        self.vault.stage(spec, stream::iter([Ok(bytes)])).await.ok()
    }

    /// Puts a file and ends `ends`, if any; the outcome is what the catalog makes of it.
    async fn put(&self, store: &Store, bytes: Bytes, ends: Option<FileRef>) -> Option<FileRef> {
        let staged = self.stage(store, bytes).await?;
        let file = staged.file().clone();
        let commit = VaultCommit { files: vec![staged], ..ending(ends) };
        let _ = self.vault.commit(commit).await;
        Some(file)
    }

    async fn rebuilt(&self) -> (Survey, Arc<MemoryCatalog>) {
        let surveyed = survey(&self.chunks, &|_| {}).await.unwrap();
        let catalog = Arc::new(MemoryCatalog::new());
        let (chunks, keys) = (self.chunks.clone(), self.keys.clone());
        let params = RebuildParams { catalog: catalog.clone(), chunks, keys };
        replay(&params, &surveyed, &|_| {}).await.unwrap();
        (surveyed, catalog)
    }
}

fn ending(file: Option<FileRef>) -> VaultCommit {
    let removes = file.map(|file| Removal { item: crate::ids::ItemId([1; 16]), files: vec![file] });
    let mut commit = Commit::new();
    commit.put(crate::catalog::RowKey::new(Table("own"), "row"), "");
    VaultCommit { commit, removes: removes.into_iter().collect(), ..VaultCommit::default() }
}

async fn rows(catalog: &MemoryCatalog, table: Table) -> BTreeMap<Vec<u8>, Bytes> {
    let mut range = ScanRange::prefix(table, []);
    let mut all = BTreeMap::new();
    loop {
        let page = catalog.scan(&range, &Fold::default(), PAGE_ITEMS_MAX).await.unwrap();
        let next = page.next.clone();
        all.extend(page.rows().map(|row| (row.key, row.value)));
        match next {
            Some(next) => range = range.from(next),
            None => return all,
        }
    }
}

async fn check(start: &Start) {
    let (surveyed, rebuilt) = start.rebuilt().await;
    assert_eq!((surveyed.gaps.len(), surveyed.damaged), (0, 0));
    let (want, got) = (rows(&start.catalog, MANIFESTS).await, rows(&rebuilt, MANIFESTS).await);
    let keys = |rows: &BTreeMap<Vec<u8>, Bytes>| rows.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&got), keys(&want));
    let (want, got) = (rows(&start.catalog, CHUNKS).await, rows(&rebuilt, CHUNKS).await);
    assert!(want.keys().all(|key| got.contains_key(key)), "no chunk is lost");
}

/// What one step of a random history does.
#[derive(Clone, Copy, Debug)]
enum Step {
    Put(usize),
    Replace(usize, usize),
    Remove(usize),
    Stage(usize),
    Meets(u8),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![Just(10_usize), Just(70_000), Just(1_100_000)];
    prop_oneof![
        4 => length.clone().prop_map(Step::Put),
        3 => (length.clone(), any::<usize>()).prop_map(|(length, of)| Step::Replace(length, of)),
        3 => any::<usize>().prop_map(Step::Remove),
        1 => length.prop_map(Step::Stage),
        3 => (0..4_u8).prop_map(Step::Meets),
        2 => Just(Step::Restart),
    ]
}

async fn run(steps: Vec<Step>) {
    let directory = tempfile::tempdir().unwrap();
    let catalog = Arc::new(MemoryCatalog::new());
    let provider = Arc::new(MemoryKeyProvider::new(Arc::new(System)));
    let mut start = Start::new(directory.path(), catalog.clone(), provider.clone()).await;
    let store = start.vault.create_store("123456789012", DomainChoice::Own).await.unwrap();
    let mut files: Vec<FileRef> = Vec::new();
    for (seed, step) in steps.into_iter().enumerate() {
        let body = |length: usize| Bytes::from(vec![u8::try_from(seed % 5).unwrap(); length]);
        let some = |at: usize| (!files.is_empty()).then(|| files[at % files.len()].clone());
        match step {
            Step::Put(length) => {
                let file = start.put(&store, body(length), None).await;
                files.extend(file);
            }
            Step::Replace(length, of) => {
                let ends = some(of);
                let file = start.put(&store, body(length), ends).await;
                files.extend(file);
            }
            Step::Remove(of) => {
                let _ = start.vault.commit(ending(some(of))).await;
            }
            Step::Stage(length) => drop(start.stage(&store, body(length)).await),
            Step::Meets(0) => catalog.inject(Fault::Conflict),
            Step::Meets(1) => catalog.inject(Fault::UnknownApplied),
            Step::Meets(_) => catalog.inject(Fault::UnknownNotApplied),
            Step::Restart => {
                start.chunks.close().await.unwrap();
                // What a start writes must not meet a fault meant for a commit.
                while catalog.commit(Commit::new()).await.is_ok_and(|outcome| {
                    !matches!(outcome, crate::catalog::Outcome::Applied { .. })
                }) {}
                start = Start::new(directory.path(), catalog.clone(), provider.clone()).await;
            }
        }
    }
    while catalog
        .commit(Commit::new())
        .await
        .is_ok_and(|outcome| !matches!(outcome, crate::catalog::Outcome::Applied { .. }))
    {}
    // Some outcomes are settled by the next start only.
    start.chunks.close().await.unwrap();
    let start = Start::new(directory.path(), catalog, provider).await;
    start.chunks.close().await.unwrap();
    check(&start).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_packs_tell_what_the_catalog_holds(steps in prop::collection::vec(step(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_removal_leaves_no_void_behind() {
    run(vec![Step::Put(10), Step::Meets(0), Step::Remove(0)]).await;
    let directory = tempfile::tempdir().unwrap();
    let provider = Arc::new(MemoryKeyProvider::new(Arc::new(System)));
    let start = Start::new(directory.path(), Arc::default(), provider).await;
    let store = start.vault.create_store("123456789012", DomainChoice::Own).await.unwrap();
    let file = start.put(&store, Bytes::from_static(b"stays"), None).await.unwrap();
    start.catalog.inject(Fault::Conflict);
    let _ = start.vault.commit(ending(Some(file.clone()))).await.unwrap();
    assert_eq!(start.vault.read_file(&file).await.unwrap(), "stays");
    // Without any further start the packs agree already.
    check(&start).await;
    let (_, rebuilt) = start.rebuilt().await;
    let (was, is) = (rows(&start.catalog, MANIFESTS).await, rows(&rebuilt, MANIFESTS).await);
    assert_eq!(was, is, "the row names the copy behind the void");
    let _ = start.vault.commit(ending(Some(file))).await.unwrap();
    check(&start).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_file_is_void_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let provider = Arc::new(MemoryKeyProvider::new(Arc::new(System)));
    let start = Start::new(directory.path(), Arc::default(), provider).await;
    let store = start.vault.create_store("123456789012", DomainChoice::Own).await.unwrap();
    start.catalog.inject(Fault::Conflict);
    start.put(&store, Bytes::from_static(b"refused"), None).await.unwrap();
    check(&start).await;
    start.put(&store, Bytes::from_static(b"stays"), None).await.unwrap();
    check(&start).await;
    assert_eq!(rows(&start.catalog, MANIFESTS).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn found_files_say_what_was_said_of_them() -> Result<()> {
    let directory = tempfile::tempdir().unwrap();
    let provider = Arc::new(MemoryKeyProvider::new(Arc::new(System)));
    let start = Start::new(directory.path(), Arc::default(), provider).await;
    let store = start.vault.create_store("123456789012", DomainChoice::Own).await?;
    let file = start.put(&store, Bytes::from(vec![7; 3_000_000]), None).await.unwrap();
    let (_, catalog) = start.rebuilt().await;
    let (chunks, keys) = (start.chunks.clone(), start.keys.clone());
    let params = RebuildParams { catalog, chunks, keys };
    let rebuild = Rebuild::new(&params, Arc::new(System), Arc::new(System)).await?;
    assert_eq!(rebuild.visible(None).await?, [file.manifest]);
    let found = rebuild.open(file.manifest).await?;
    assert_eq!((found.file, found.metadata), (file.clone(), Bytes::from_static(b"name")));
    assert_eq!((found.item.store, found.role), (store, FileRole::Object));
    assert_eq!(found.parts, [(1, 3_000_000)]);
    assert_eq!(rebuild.vault().read_file(&file).await?, vec![7; 3_000_000]);
    rebuild.leave_out(&[file.manifest]).await?;
    assert!(!rebuild.is_visible(file.manifest).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_is_gone_is_a_gap_and_its_rows_go() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = Arc::new(MemoryCatalog::new());
    let provider = Arc::new(MemoryKeyProvider::new(Arc::new(System)));
    let start = Start::new(directory.path(), catalog.clone(), provider.clone()).await;
    let store = start.vault.create_store("123456789012", DomainChoice::Own).await.unwrap();
    start.put(&store, Bytes::from(vec![1; 200_000]), None).await.unwrap();
    start.chunks.close().await.unwrap();
    let first = start.chunks.packs().unwrap();
    let second = Start::new(directory.path(), catalog.clone(), provider).await;
    let kept = second.put(&store, Bytes::from(vec![2; 200_000]), None).await.unwrap();
    std::fs::remove_file(directory.path().join(format!("packs/{}.pack", first[0]))).unwrap();
    let surveyed = survey(&second.chunks, &|_| {}).await.unwrap();
    // A writer of which nothing is left leaves no gap behind: that only a signed list could tell.
    assert_eq!(surveyed.gaps, []);
    let (chunks, keys) = (second.chunks.clone(), second.keys.clone());
    let params = RebuildParams { catalog: catalog.clone(), chunks, keys };
    let replayed = replay(&params, &surveyed, &|_| {}).await.unwrap();
    assert_eq!(replayed.dangling, 2, "a chunk and a manifest");
    let left: Vec<_> = rows(&catalog, MANIFESTS).await.into_keys().collect();
    assert_eq!(left, [kept.manifest.0.to_vec()]);
    let names = second.chunks.summary(surveyed.packs[0]).await.unwrap();
    let held = |id: ManifestId| {
        let mut records = names.batches.iter().flat_map(|batch| &batch.index.records);
        records.any(|record| record.name == RecordName::Manifest(id))
    };
    assert!(held(kept.manifest));
}
