use std::path::PathBuf;

use bytes::Bytes;
use readvault_ambient::System;
use readvault_store::{
    catalog::Commit,
    keys::{MemoryKeyProvider, ShredSlots},
    receipts::verify,
    vault::{FileRef, FileRole, FileSpec, Metadata, SlotChoice, Vault, VaultCommit},
};

use super::*;
use crate::{
    authorize::{Ask, Authorizer},
    core::{Site, encode},
    identity::{Caller, Principal},
    read_set::{ReadSet, ReadSetFile, ReadSetFiles, ReadSetStatus, index},
    run::{RunInput, RunSpecRow},
    sequence_store::{self, SequenceStore},
};

const ACCOUNT: &str = "123456789012";

struct Rig {
    core: Core,
    permit: Permit,
    store: SequenceStore,
    directory: PathBuf,
    _kept: TempDir,
}

/// A directory that goes with the test.
struct TempDir(PathBuf);

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Rig {
    async fn new() -> Self {
        let name = format!("rv-erasure-{}", readvault_store::ids::WriterId::draw(&System));
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let provider = Arc::new(MemoryKeyProvider::new(Arc::new(System)));
        let (vault, _) = readvault_store::testing::vault_with(&directory, provider).await.unwrap();
        let site = Site { account: ACCOUNT.into(), region: "us-east-1".into() };
        let core = Core::new(vault, site, Arc::new(System), Arc::new(System));
        let root = Caller { principal: Principal::Root, ..Caller::anonymous() };
        let permit = Authorizer::default().authorize(&root, &[Ask::new("*", "*")]).unwrap();
        let new = sequence_store::create::NewSequenceStore {
            name: "s".into(),
            description: None,
            fallback_location: None,
            etag_family: "MD5up".into(),
            propagated_tags: Vec::new(),
            tags: Vec::new(),
            client_token: None,
        };
        let store = sequence_store::create::create(&core, &permit, new).await.unwrap();
        Self { core, permit, store, _kept: TempDir(directory.clone()), directory }
    }

    /// Erasures as a start opens them.
    fn erasures(&self) -> Erasures {
        let keys = self.core.vault().keys();
        let directory = self.directory.join("receipts");
        let receipts =
            Receipts::open(&directory, keys.vault(), keys.vault_key().clone(), Arc::new(System));
        Erasures::new(self.core.clone(), Arc::new(receipts.unwrap()))
    }

    fn vault(&self) -> &Vault {
        self.core.vault()
    }

    async fn read_set(&self, id: &str, bytes: Vec<u8>) -> ReadSet {
        let store = &self.store.store;
        let item = self.vault().new_item(store, ItemKind::ReadSet, SlotChoice::Own).await.unwrap();
        let spec = FileSpec::new(item.clone(), FileRole::Source1, Metadata::None);
        let body = futures::stream::iter([Ok(Bytes::from(bytes))]);
        let staged = self.vault().stage(spec, body).await.unwrap();
        let source1 = ReadSetFile {
            name: "a.bam".into(),
            file: staged.file().clone(),
            etag: "e-1".into(),
            sha256: None,
            md5: None,
            crc64nvme: None,
        };
        let read_set = ReadSet {
            id: id.into(),
            sequence_store: self.store.id.clone(),
            item,
            status: ReadSetStatus::Active,
            status_message: None,
            file_type: "BAM".into(),
            name: Some("n".into()),
            description: None,
            subject_id: "subject".into(),
            sample_id: "sample".into(),
            generated_from: None,
            reference_arn: None,
            creation_type: "UPLOAD".into(),
            creation_job: None,
            created_ms: 1,
            tags: Vec::new(),
            files: ReadSetFiles { source1, source2: None, index: None },
            facts: None,
        };
        let mut commit = Commit::new();
        index::add(&mut commit, &read_set);
        let commit = VaultCommit { commit, files: vec![staged], removes: Vec::new() };
        assert!(self.core.commit(commit).await.unwrap());
        read_set
    }

    fn target(&self, id: &str) -> Target {
        Target::ReadSet { store: self.store.id.clone(), id: id.into() }
    }

    async fn plan(&self, id: &str) -> Result<Receipt> {
        let erasures = self.erasures();
        erasures.plan(&self.permit, &self.target(id), ("ticket 7", "uid 0"), &|_| {}).await
    }

    async fn opens(&self, file: &FileRef) -> bool {
        self.vault().read_file(file).await.is_ok()
    }
}

/// Bytes of several chunks, of which those after `differs` are the same for every seed.
fn body(seed: u8, differs: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..3_000_000_u32).map(|at| (at.wrapping_mul(at) >> 7) as u8).collect();
    bytes[..differs].fill(seed);
    bytes
}

#[tokio::test]
async fn an_erased_read_set_is_gone_and_its_receipt_says_so() {
    let rig = Rig::new().await;
    let one = rig.read_set("1", body(1, 100)).await;
    let two = rig.read_set("2", body(2, 100)).await;
    let other = rig.read_set("3", vec![3; 2_000_000]).await;
    let small = rig.read_set("4", vec![4; 10]).await;
    let planned = rig.plan("1").await.unwrap();
    assert_eq!(planned.shared.items.len(), 1, "{:?}", planned.shared);
    assert_eq!(planned.shared.items[0].item, two.item.id);
    assert_eq!((planned.shared.more, planned.shared.unread), (0, 0));
    assert_eq!(planned.file_bytes, 3_000_000);
    assert!(rig.opens(&one.files.source1.file).await, "a plan changes nothing");

    let erasures = rig.erasures();
    let signed = erasures.erase(&rig.permit, planned).await.unwrap();
    assert!(verify(&signed, &erasures.receipts().public_key()));
    assert_eq!((signed.receipt.number, signed.receipt.slot), (1, one.item.slot));
    assert!(!signed.receipt.time_done.is_empty());
    let gone = crate::read_set::load(&rig.core, &rig.store.id, "1").await.unwrap_err();
    assert_eq!(gone.kind, FaultKind::NotFound);
    assert!(!rig.opens(&one.files.source1.file).await);
    let key = rig.vault().keys().item_key(&one.item).await.unwrap_err();
    assert_eq!(key.kind(), readvault_store::ErrorKind::KeyUnavailable);
    for kept in [&two, &other, &small] {
        assert!(rig.opens(&kept.files.source1.file).await);
    }
    let again = rig.plan("1").await.unwrap_err();
    assert!(again.message.contains("receipt 1"), "{again}");
    let small = rig.plan("4").await.unwrap();
    assert!(small.shared.items.is_empty(), "it lives in its manifest");
}

#[tokio::test]
async fn an_erasure_that_is_cut_short_behind_any_step_is_finished_by_the_next_start() {
    for steps in 0..=3 {
        let rig = Rig::new().await;
        let one = rig.read_set("1", vec![1; 200_000]).await;
        let planned = rig.plan("1").await.unwrap();
        let target = rig.target("1");
        let erasures = rig.erasures();
        if steps > 0 {
            erasures.receipts().intend(&planned).unwrap();
        }
        if steps > 1 {
            rig.vault().erase(planned.slot, &planned.manifests).await.unwrap();
        }
        if steps > 2 {
            target.remove(&rig.core, planned.item).await.unwrap();
        }
        drop(erasures);

        let erasures = rig.erasures();
        assert_eq!(erasures.resume().await.unwrap(), usize::from(steps > 0), "{steps} steps");
        assert_eq!(erasures.resume().await.unwrap(), 0);
        let entries = erasures.entries().await.unwrap();
        if steps == 0 {
            assert!(entries.is_empty() && rig.opens(&one.files.source1.file).await);
            continue;
        }
        assert_eq!((entries.len(), entries[0].state), (1, State::Done), "{steps} steps");
        let signed = erasures.receipts().signed(&entries[0]);
        assert!(verify(&signed, &erasures.receipts().public_key()));
        assert!(target.find(&rig.core).await.is_err(), "{steps} steps");
        let slots = ShredSlots::open(
            &readvault_store::disk::LocalDisk,
            &rig.directory.join("shred.slots"),
            &rig.directory.join("shred.slots.copy"),
            Arc::new(System),
        );
        let erased = slots.unwrap().secret(one.item.slot).unwrap_err();
        assert_eq!(erased.kind(), readvault_store::ErrorKind::KeyUnavailable, "{steps} steps");
    }
}

#[tokio::test]
async fn what_an_older_catalog_brings_back_is_erased_again() {
    let rig = Rig::new().await;
    let one = rig.read_set("1", vec![1; 200_000]).await;
    let erasures = rig.erasures();
    erasures.erase(&rig.permit, rig.plan("1").await.unwrap()).await.unwrap();
    let mut commit = Commit::new();
    index::add(&mut commit, &one);
    assert!(rig.core.commit(commit).await.unwrap());
    let receipts = erasures.entries().await.unwrap();
    assert_eq!(rig.erasures().resume().await.unwrap(), 1);
    assert!(rig.target("1").find(&rig.core).await.is_err());
    assert_eq!(rig.erasures().resume().await.unwrap(), 0);
    assert_eq!(rig.erasures().entries().await.unwrap(), receipts, "its receipt stays as it was");
}

#[tokio::test]
async fn what_a_run_reads_is_not_erased_and_neither_is_what_was_replaced() {
    let rig = Rig::new().await;
    let one = rig.read_set("1", vec![1; 200_000]).await;
    let planned = rig.plan("1").await.unwrap();
    let input = RunInput {
        uri: "omics://1".into(),
        name: "a.bam".into(),
        file: one.files.source1.file.clone(),
        etag: "e-1".into(),
        sha256: None,
        action: "omics:GetReadSet".into(),
        resource: "*".into(),
    };
    let spec = RunSpecRow {
        parameters: "{}".into(),
        engine_parameters: serde_json::json!({}),
        inputs: vec![input],
    };
    let mut commit = Commit::new();
    commit.put(crate::run::live_row("1000007"), Bytes::new());
    commit.put(crate::run::spec_row("1000007"), encode(&spec));
    assert!(rig.core.commit(commit).await.unwrap());
    let used = rig.plan("1").await.unwrap_err();
    assert_eq!(used.kind, FaultKind::Conflict);
    assert!(used.message.contains("run 1000007"), "{used}");
    let used = rig.erasures().erase(&rig.permit, planned.clone()).await.unwrap_err();
    assert_eq!(used.kind, FaultKind::Conflict, "the run began after the plan");
    assert!(rig.opens(&one.files.source1.file).await);

    let mut commit = Commit::new();
    commit.delete(crate::run::live_row("1000007"));
    assert!(rig.core.commit(commit).await.unwrap());
    let other = Receipt { item: readvault_store::ids::ItemId([7; 16]), ..planned };
    let replaced = rig.erasures().erase(&rig.permit, other).await.unwrap_err();
    assert_eq!(replaced.kind, FaultKind::Conflict);
    let long = "x".repeat(REASON_BYTES_MAX + 1);
    for reason in ["", &long] {
        let asked = (reason, "uid 0");
        let erasures = rig.erasures();
        let refused = erasures.plan(&rig.permit, &rig.target("1"), asked, &|_| {}).await;
        assert_eq!(refused.unwrap_err().kind, FaultKind::InvalidArgument);
    }
}

#[test]
fn targets_are_named_as_receipts_name_them() {
    for resource in ["sequenceStore/1/readSet/2", "referenceStore/1/reference/2"] {
        assert_eq!(Target::parse(resource).unwrap().resource(), resource);
    }
    for bad in ["", "sequenceStore/1", "sequenceStore/1/readSet/2/3", "readSet/1/readSet/2"] {
        Target::parse(bad).unwrap_err();
    }
}
