use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use proptest::prelude::*;
use readvault_ambient::{Entropy, System, testing::ManualClock};

use super::*;
use crate::{
    catalog::{Commit, memory::MemoryCatalog},
    keys::{Available, MemoryKeyProvider, RENEW_AFTER_MS},
    testing,
};

const OBJECTS: Table = Table("objects");

/// Lengths around every edge: inline, frame, chunk.
const LENGTHS: [usize; 11] =
    [0, 1, 65_535, 65_536, 65_537, 131_072, 1_048_575, 1_048_576, 1_048_577, 2_097_152, 3_500_001];

fn noise(length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    System.fill(&mut bytes);
    bytes.into()
}

fn body(bytes: &Bytes) -> impl Stream<Item = Result<Bytes, BodyError>> + Send + Unpin + use<> {
    let pieces: Vec<_> = bytes.chunks(50_000).map(Bytes::copy_from_slice).map(Ok).collect();
    stream::iter(pieces)
}

struct Bench {
    vault: Vault,
    catalog: Arc<MemoryCatalog>,
    store: Store,
    _directory: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (vault, catalog) = testing::vault_in(directory.path()).await.unwrap();
        let store = vault.create_store("123456789012", DomainChoice::Own).await.unwrap();
        Self { vault, catalog, store, _directory: directory }
    }

    async fn spec(&self, role: FileRole) -> FileSpec {
        let item = self.vault.new_item(&self.store, ItemKind::Object, SlotChoice::OfStore).await;
        FileSpec::new(item.unwrap(), role, Metadata::Known(Bytes::from_static(b"name")))
    }

    async fn stage(&self, bytes: &Bytes, role: FileRole) -> Staged {
        self.vault.stage(self.spec(role).await, body(bytes)).await.unwrap()
    }

    async fn put(&self, bytes: &Bytes, role: FileRole) -> FileRef {
        let staged = self.stage(bytes, role).await;
        self.publish(staged).await
    }

    async fn publish(&self, staged: Staged) -> FileRef {
        let file = staged.file().clone();
        let files = vec![staged];
        let commit = VaultCommit { files, ..VaultCommit::default() };
        assert!(matches!(self.vault.commit(commit).await.unwrap(), Committed::Applied { .. }));
        file
    }

    async fn whole(&self, file: &FileRef) -> Bytes {
        let reader = self.vault.open_file(file).await.unwrap();
        assert_eq!(reader.length(), file.length);
        let pieces: Vec<_> = reader.stream(0..file.length).try_collect().await.unwrap();
        pieces.concat().into()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_every_length_come_back() {
    let bench = Bench::new().await;
    for length in LENGTHS {
        for role in [FileRole::Object, FileRole::Part] {
            let bytes = noise(length);
            let file = bench.put(&bytes, role).await;
            assert_eq!(file.length, length as u64);
            assert_eq!(bench.whole(&file).await, bytes, "{length} bytes as {role:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_exact() {
    let bench = Bench::new().await;
    let bytes = noise(2_500_001);
    let file = bench.put(&bytes, FileRole::Object).await;
    let reader = bench.vault.open_file(&file).await.unwrap();
    let edges = [0, 1, 65_535, 65_536, 65_537, 1_048_576, 1_048_577, 2_500_000, 2_500_001];
    for start in edges {
        for end in edges.into_iter().filter(|end| *end >= start) {
            let want = &bytes[start..end];
            let range = start as u64..end as u64;
            assert_eq!(reader.read(range.clone()).await.unwrap(), want, "{range:?}");
            let pieces: Vec<_> = reader.stream(range.clone()).try_collect().await.unwrap();
            assert_eq!(pieces.concat(), want, "{range:?}");
        }
    }
    assert_eq!(reader.read(2_500_000..u64::MAX).await.unwrap(), &bytes[2_500_000..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_chunks_are_stored_once() {
    let bench = Bench::new().await;
    let bytes = noise(3 << 20);
    bench.put(&bytes, FileRole::Object).await;
    let rows = |bench: &Bench| {
        let catalog = bench.catalog.clone();
        async move {
            let range = crate::catalog::ScanRange::prefix(CHUNKS, []);
            catalog.scan(&range, &crate::catalog::Fold::default(), 100).await.unwrap().items.len()
        }
    };
    assert_eq!(rows(&bench).await, 3);
    let again = bench.put(&bytes, FileRole::Object).await;
    assert_eq!(rows(&bench).await, 3);
    assert_eq!(bench.whole(&again).await, bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_fails_stages_nothing() {
    let bench = Bench::new().await;
    let pieces = [Ok(noise(2 << 20)), Err(BodyError::from("the connection broke"))];
    let staged = bench.vault.stage(bench.spec(FileRole::Object).await, stream::iter(pieces)).await;
    assert!(matches!(staged, Err(StageError::Body(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_visible_before_the_commit_and_a_conflict_leaves_it_so() {
    let bench = Bench::new().await;
    let staged = bench.stage(&noise(100), FileRole::Object).await;
    let file = staged.file().clone();
    let unseen = bench.vault.open_file(&file).await.unwrap_err();
    assert_eq!(unseen.kind(), ErrorKind::NotFound);
    let mut commit = Commit::new();
    commit.unchanged(RowKey::new(OBJECTS, "absent"), 7);
    let commit = VaultCommit { commit, files: vec![staged], removes: Vec::new() };
    assert!(matches!(bench.vault.commit(commit).await.unwrap(), Committed::Conflict(_)));
    let unseen = bench.vault.open_file(&file).await.unwrap_err();
    assert_eq!(unseen.kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_file_ends_with_its_master_key() {
    let directory = tempfile::tempdir().unwrap();
    let provider = Arc::new(MemoryKeyProvider::new(Arc::new(System)));
    let clock = Arc::new(ManualClock::at(1_000_000));
    let made = testing::vault_at(directory.path(), provider.clone(), clock.clone()).await.unwrap();
    let (vault, catalog) = made;
    let store = vault.create_store("123456789012", DomainChoice::Own).await.unwrap();
    let bench = Bench { vault, catalog, store, _directory: directory };
    let file = bench.put(&noise(200_000), FileRole::Object).await;
    // Its manifest is opened just before the master key is asked again.
    clock.set(1_000_000 + RENEW_AFTER_MS - 1);
    bench.whole(&file).await;
    provider.set_available(Available::No);
    bench.whole(&file).await;
    clock.set(1_000_000 + RENEW_AFTER_MS);
    let refused = bench.vault.open_file(&file).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::KeyUnavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_item_can_no_longer_be_opened() {
    let bench = Bench::new().await;
    let spec = bench.spec(FileRole::Object).await;
    let item = spec.item.id;
    let staged = bench.vault.stage(spec, body(&noise(200_000))).await.unwrap();
    let file = bench.publish(staged).await;
    bench.whole(&file).await;
    let removal = Removal { item, files: vec![file.clone()] };
    let commit = VaultCommit { removes: vec![removal], ..VaultCommit::default() };
    assert!(matches!(bench.vault.commit(commit).await.unwrap(), Committed::Applied { .. }));
    assert_eq!(bench.vault.open_file(&file).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_become_one_file_without_a_new_chunk() {
    let bench = Bench::new().await;
    let parts = [noise(1_500_000), noise(0), noise(7), noise(1 << 20)];
    let mut files = Vec::new();
    for part in &parts {
        files.push(bench.put(part, FileRole::Part).await);
    }
    let spec = bench.spec(FileRole::Object).await;
    let staged = bench.vault.assemble(spec, &files).await.unwrap();
    let file = bench.publish(staged).await;
    assert_eq!(bench.whole(&file).await, parts.concat());
    let copied = bench.vault.adopt(bench.spec(FileRole::Object).await, &file).await.unwrap();
    let copy = bench.publish(copied.unwrap()).await;
    assert_eq!(bench.whole(&copy).await, parts.concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_stores_of_one_domain_adopt_from_each_other() {
    let bench = Bench::new().await;
    let file = bench.put(&noise(300_000), FileRole::Object).await;
    let account = "123456789012";
    let other = bench.vault.create_store(account, DomainChoice::Own).await.unwrap();
    let shared = DomainChoice::Shared(bench.store.domain);
    let drop = bench.vault.create_store(account, shared).await.unwrap();
    for (store, adopts) in [(&other, false), (&drop, true)] {
        let item = bench.vault.new_item(store, ItemKind::ReadSet, SlotChoice::Own).await.unwrap();
        let spec = FileSpec { item, ..bench.spec(FileRole::Source1).await };
        let adopted = bench.vault.adopt(spec, &file).await.unwrap();
        assert_eq!(adopted.is_some(), adopts);
        if let Some(staged) = adopted {
            let adopted = bench.publish(staged).await;
            assert_eq!(bench.whole(&adopted).await, bench.whole(&file).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_settled_by_reading() {
    use crate::catalog::memory::Fault;
    let bench = Bench::new().await;
    bench.catalog.inject(Fault::UnknownApplied);
    let staged = bench.stage(&noise(10), FileRole::Object).await;
    let file = bench.publish(staged).await;
    assert_eq!(bench.whole(&file).await.len(), 10);
    let staged = bench.stage(&noise(10), FileRole::Object).await;
    let lost = staged.file().clone();
    bench.catalog.inject(Fault::UnknownNotApplied);
    let commit = VaultCommit { files: vec![staged], ..VaultCommit::default() };
    assert_eq!(bench.vault.commit(commit).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(bench.vault.open_file(&lost).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_uploads_at_once_share_the_room_for_chunks() {
    let bench = Arc::new(Bench::new().await);
    let uploads = (0..24_u8).map(|n| {
        let bench = bench.clone();
        tokio::spawn(async move {
            let bytes = Bytes::from(vec![n; 5_000_000]);
            let file = bench.put(&bytes, FileRole::Object).await;
            assert_eq!(bench.whole(&file).await, bytes);
        })
    });
    let uploads: Vec<_> = uploads.collect();
    for upload in uploads {
        upload.await.unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_range_of_any_file_is_what_was_written(
        length in 0_usize..3_000_000,
        edges in prop::collection::vec(0_u64..3_100_000, 2..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new().await;
            let bytes = noise(length);
            let file = bench.put(&bytes, FileRole::Object).await;
            let reader = bench.vault.open_file(&file).await.unwrap();
            for pair in edges.windows(2) {
                let (start, end) = (pair[0].min(pair[1]), pair[0].max(pair[1]));
                let narrow = |at: u64| usize::try_from(at).unwrap().min(length);
                let want = &bytes[narrow(start)..narrow(end)];
                assert_eq!(reader.read(start..end).await.unwrap(), want);
                let pieces: Vec<_> = reader.stream(start..end).map(Result::unwrap).collect().await;
                assert_eq!(pieces.concat(), want);
            }
        });
    }
}
