use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{TryStreamExt, stream};
use parking_lot::Mutex;
use readvault_ambient::{Entropy, System};

use super::*;
use crate::{
    catalog::{Catalog, memory::MemoryCatalog},
    chunk::{ChunkId, ChunkRow},
    chunk_store::{
        ChunkStore, Extent, MemoryChunkStore, PackInfo, PackSource, Receipt, StoreParams,
    },
    ids::{DomainId, WriterId},
    keys::{MemoryKeyProvider, VaultKeys, VaultKeysParams},
    pack::{Batch, PackContents},
    vault::{
        BodyError, DomainChoice, FileRef, FileRole, FileSpec, GcOptions, ItemKind, Metadata,
        SlotChoice, Store, Vault, VaultCommit, VaultParams, choose::QUARANTINED, chunk_row,
        manifest_row,
    },
};

/// Packs of which bytes can be damaged, as they are read, and that can be gone.
#[derive(Debug)]
struct Rotten {
    under: Arc<MemoryChunkStore>,
    rot: Mutex<HashMap<PackId, u64>>,
    gone: Mutex<HashSet<PackId>>,
}

/// What is under the rot: a second copy.
#[derive(Debug)]
struct Copy(Arc<MemoryChunkStore>);

#[async_trait]
impl PackSource for Copy {
    async fn read(&self, extent: Extent) -> Result<Bytes> {
        self.0.read(extent).await
    }
}

#[async_trait]
impl ChunkStore for Rotten {
    async fn append(&self, batch: Batch) -> Result<Receipt> {
        self.under.append(batch).await
    }

    async fn read(&self, extent: Extent) -> Result<Bytes> {
        if self.gone.lock().contains(&extent.pack) {
            return Err(crate::Error::new(ErrorKind::NotFound, "the pack is gone"));
        }
        let bytes = self.under.read(extent).await?;
        let rot = self.rot.lock().get(&extent.pack).copied();
        let at =
            rot.and_then(|at| at.checked_sub(extent.offset)).filter(|at| *at < bytes.len() as u64);
        let Some(at) = at else { return Ok(bytes) };
        let mut bytes = bytes.to_vec();
        bytes[usize::try_from(at).unwrap()] ^= 1;
        Ok(bytes.into())
    }

    async fn list(&self) -> Result<Vec<PackInfo>> {
        let mut packs = self.under.list().await?;
        packs.retain(|pack| !self.gone.lock().contains(&pack.pack));
        Ok(packs)
    }

    async fn holds(&self, pack: PackId) -> Result<bool> {
        Ok(!self.gone.lock().contains(&pack) && self.under.holds(pack).await?)
    }

    async fn footer(&self, pack: PackId) -> Result<Option<PackContents>> {
        self.under.footer(pack).await
    }

    async fn summary(&self, pack: PackId) -> Result<PackContents> {
        self.under.summary(pack).await
    }

    async fn remove(&self, pack: PackId) -> Result<()> {
        self.under.remove(pack).await
    }

    fn take_closed(&self) -> Vec<PackId> {
        self.under.take_closed()
    }

    fn acknowledge(&self, sequence: u64) {
        self.under.acknowledge(sequence);
    }
}

struct Bench {
    vault: Vault,
    catalog: Arc<MemoryCatalog>,
    chunks: Arc<Rotten>,
    store: Store,
    provider: Arc<MemoryKeyProvider>,
    directory: tempfile::TempDir,
}

fn noise(length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    System.fill(&mut bytes);
    bytes.into()
}

/// The keys of the vault in `directory`.
async fn keys_in(directory: &Path, provider: &Arc<MemoryKeyProvider>) -> Arc<VaultKeys> {
    let keys = VaultKeys::open(VaultKeysParams {
        directory: directory.to_owned(),
        provider: provider.clone(),
        clock: Arc::new(System),
        entropy: Arc::new(System),
    });
    Arc::new(keys.await.unwrap())
}

impl Bench {
    async fn new(has_copy: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let provider = Arc::new(MemoryKeyProvider::new(Arc::new(System)));
        let keys = keys_in(directory.path(), &provider).await;
        let writer = WriterId::draw(&System);
        let vault_key = keys.vault_key().clone();
        let params = StoreParams { vault_key, writer, entropy: Arc::new(System) };
        let under = Arc::new(MemoryChunkStore::with_pack_bytes(params, 256 << 10));
        let copy = has_copy.then(|| Arc::new(Copy(under.clone())) as Arc<dyn PackSource>);
        let (rot, gone) = Default::default();
        let chunks = Arc::new(Rotten { under, rot, gone });
        let catalog = Arc::new(MemoryCatalog::new());
        let vault = Self::start(keys, catalog.clone(), chunks.clone(), copy).await;
        let store = vault.create_store("123456789012", DomainChoice::Own).await.unwrap();
        Self { vault, catalog, chunks, store, provider, directory }
    }

    async fn start(
        keys: Arc<VaultKeys>,
        catalog: Arc<MemoryCatalog>,
        chunks: Arc<Rotten>,
        copy: Option<Arc<dyn PackSource>>,
    ) -> Vault {
        let writer = WriterId::draw(&System);
        let (entropy, clock) = (Arc::new(System), Arc::new(System));
        let params = VaultParams { catalog, chunks, keys, entropy, clock, writer, copy };
        Vault::start(params, &[]).await.unwrap()
    }

    async fn put(&self, bytes: &Bytes, role: FileRole) -> FileRef {
        let item = self.vault.new_item(&self.store, ItemKind::Object, SlotChoice::OfStore).await;
        let spec = FileSpec::new(item.unwrap(), role, Metadata::None);
        let body = stream::iter([Ok::<_, BodyError>(bytes.clone())]);
        let staged = self.vault.stage(spec, body).await.unwrap();
        let file = staged.file().clone();
        let commit = VaultCommit { files: vec![staged], ..VaultCommit::default() };
        let _ = self.vault.commit(commit).await.unwrap();
        file
    }

    async fn read(&self, file: &FileRef) -> Result<Vec<u8>> {
        let reader = self.vault.open_file(file).await?;
        let pieces: Vec<_> = reader.stream(0..file.length).try_collect().await?;
        Ok(pieces.concat())
    }

    async fn row_of(&self, domain: DomainId, id: ChunkId) -> ChunkRow {
        let row = self.catalog.read(&[chunk_row(domain, id)]).await.unwrap().remove(0).unwrap();
        ChunkRow::decode(&row.value).unwrap()
    }

    /// Every chunk, and where it lies.
    async fn chunk(&self) -> (DomainId, ChunkId, ChunkRow) {
        let range = crate::catalog::ScanRange::prefix(crate::vault::CHUNKS, []);
        let page = self.catalog.scan(&range, &crate::catalog::Fold::default(), 1).await.unwrap();
        let row = page.rows().next().unwrap();
        let domain = DomainId(row.key[..16].try_into().unwrap());
        let id = ChunkId(row.key[16..].try_into().unwrap());
        (domain, id, ChunkRow::decode(&row.value).unwrap())
    }

    async fn scrub(&self, open_percent: u8) -> Scrub {
        let options = ScrubOptions { open_percent, ..ScrubOptions::default() };
        self.vault.scrub(options, &|_| {}).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_vault_is_read_whole() {
    let bench = Bench::new(false).await;
    for length in [0, 100, 70_000, 2_500_000] {
        bench.put(&noise(length), FileRole::Object).await;
    }
    let scrub = bench.scrub(100).await;
    assert_eq!((scrub.damaged, scrub.places.len(), scrub.opened), (0, 0, 4));
    assert_eq!(scrub.records, 4 + 4);
    assert!(scrub.packs > 3 && scrub.bytes > 2_500_000);
    assert_eq!(bench.vault.last_scrub().await.unwrap(), Some(scrub));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_chunk_is_quarantined_and_its_next_upload_heals_every_file() {
    let bench = Bench::new(false).await;
    let bytes = noise(200_000);
    let (first, second) =
        (bench.put(&bytes, FileRole::Part).await, bench.put(&bytes, FileRole::Part).await);
    let (domain, id, row) = bench.chunk().await;
    bench.chunks.rot.lock().insert(row.pack, row.offset + 5_000);
    let scrub = bench.scrub(0).await;
    assert_eq!((scrub.damaged, scrub.mended), (1, 0));
    let place = Damage { pack: row.pack, offset: row.offset, what: Damaged::Chunk };
    assert_eq!(scrub.places, [place]);
    assert_eq!(bench.row_of(domain, id).await.gc_epoch, QUARANTINED);
    assert_eq!(bench.read(&first).await.unwrap_err().kind(), ErrorKind::Corrupt);
    bench.vault.collect_garbage(GcOptions::default()).await.unwrap();
    bench.put(&bytes, FileRole::Part).await;
    for file in [&first, &second] {
        assert_eq!(bench.read(file).await.unwrap(), bytes);
    }
    assert_eq!(bench.scrub(100).await.damaged, 0, "what is left of it is dead");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_fails_quarantines_too() {
    let bench = Bench::new(false).await;
    let bytes = noise(200_000);
    let file = bench.put(&bytes, FileRole::Part).await;
    let (domain, id, row) = bench.chunk().await;
    bench.chunks.rot.lock().insert(row.pack, row.offset + 5_000);
    assert_eq!(bench.read(&file).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(bench.row_of(domain, id).await.gc_epoch, QUARANTINED);
    bench.put(&bytes, FileRole::Part).await;
    assert_eq!(bench.read(&file).await.unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_copy_mends_chunks_and_manifests() {
    let bench = Bench::new(true).await;
    let bytes = noise(200_000);
    let file = bench.put(&bytes, FileRole::Part).await;
    let (_, _, row) = bench.chunk().await;
    bench.chunks.rot.lock().insert(row.pack, row.offset + 5_000);
    let scrub = bench.scrub(0).await;
    assert_eq!((scrub.damaged, scrub.mended), (1, 1));
    assert_eq!(bench.read(&file).await.unwrap(), bytes);
    let key = manifest_row(file.manifest);
    let found = bench.catalog.read(&[key]).await.unwrap().remove(0).unwrap();
    let row = crate::manifest::ManifestRow::decode(&found.value).unwrap();
    bench.chunks.rot.lock().clear();
    bench.chunks.rot.lock().insert(row.pack, row.offset + 500);
    let scrub = bench.scrub(0).await;
    assert_eq!((scrub.damaged, scrub.mended), (1, 1));
    assert_eq!(scrub.places[0].what, Damaged::Manifest(file.manifest));
    assert_eq!(bench.read(&file).await.unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_is_gone_is_mended_from_a_second_copy() {
    for has_copy in [true, false] {
        let bench = Bench::new(has_copy).await;
        let bytes = noise(200_000);
        let file = bench.put(&bytes, FileRole::Part).await;
        let packs = bench.chunks.list().await.unwrap();
        // Its chunk fills that pack, its manifest begins the next.
        bench.put(&noise(300_000), FileRole::Part).await;
        bench.chunks.gone.lock().extend(packs.iter().map(|pack| pack.pack));
        let scrub = bench.scrub(100).await;
        assert_eq!((scrub.damaged, scrub.mended), (3, if has_copy { 3 } else { 0 }));
        let whats: Vec<_> = scrub.places.iter().map(|place| place.what).collect();
        let chunk = Damaged::Chunk;
        assert_eq!(whats, [chunk, chunk, Damaged::Manifest(file.manifest)]);
        if has_copy {
            assert_eq!(bench.read(&file).await.unwrap(), bytes);
            assert_eq!(bench.scrub(100).await.damaged, 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_whose_keys_are_lost_are_told() {
    let mut bench = Bench::new(false).await;
    bench.put(&noise(100_000), FileRole::Part).await;
    // As a backup of the keys is that is older than the packs.
    let old = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(bench.directory.path()).unwrap() {
        let from = entry.unwrap().path();
        std::fs::copy(&from, old.path().join(from.file_name().unwrap())).unwrap();
    }
    bench.store = bench.vault.create_store("123456789012", DomainChoice::Own).await.unwrap();
    let closed = bench.put(&noise(100_000), FileRole::Part).await;
    let keys = keys_in(old.path(), &bench.provider).await;
    bench.vault = Bench::start(keys, bench.catalog.clone(), bench.chunks.clone(), None).await;
    let scrub = bench.scrub(100).await;
    let whats: Vec<_> = scrub.places.iter().map(|place| place.what).collect();
    assert_eq!((scrub.damaged, &whats[..]), (1, &[Damaged::Manifest(closed.manifest)][..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_finds_what_checksums_cannot() {
    let bench = Bench::new(false).await;
    let file = bench.put(&noise(100_000), FileRole::Part).await;
    let (domain, id, row) = bench.chunk().await;
    let mut commit = crate::catalog::Commit::new();
    let wrong = ChunkRow { prefix: [7; 7], ..row };
    commit.put(chunk_row(domain, id), wrong.encode());
    let _ = bench.catalog.commit(commit).await.unwrap();
    assert_eq!(bench.scrub(0).await.damaged, 0);
    assert!(bench.read(&file).await.is_err());
    let found = bench.scrub(100).await;
    assert_eq!((found.damaged, found.opened), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_scrub_goes_on_where_it_was() {
    let bench = Bench::new(false).await;
    for _ in 0..12 {
        bench.put(&noise(100_000), FileRole::Part).await;
    }
    let packs = bench.chunks.list().await.unwrap().len() as u64;
    let (told, heard) = (Arc::new(tokio::sync::Notify::new()), Mutex::new(0_u64));
    let options = ScrubOptions { bytes_a_second: Some(4_000_000), ..ScrubOptions::default() };
    let interrupted = {
        let told = told.clone();
        let tell = |scrub: &Scrub| {
            *heard.lock() = scrub.packs;
            told.notify_one();
        };
        tokio::select! {
            _ = bench.vault.scrub(options, &tell) => true,
            () = told.notified() => false,
        }
    };
    assert!(!interrupted && packs > 2);
    let rest = Mutex::new(Vec::new());
    let tell = |scrub: &Scrub| rest.lock().push(scrub.packs);
    let whole = bench.vault.scrub(ScrubOptions::default(), &tell);
    assert_eq!(whole.await.unwrap().packs, packs);
    assert!((rest.lock().len() as u64) < packs, "some were read before");
    assert_eq!(bench.scrub(0).await.packs, packs, "the next one begins anew");
}
