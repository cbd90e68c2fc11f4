//! What the scenarios of the client scripts find: a sequence store with four read sets.

use bytes::Bytes;
use readvault_ops::{
    body::Algorithm,
    bucket::{self, Bucket, BucketKind},
    core::{Core, encode},
    read_set::{self, ReadSet, ReadSetFacts, ReadSetFile, ReadSetFiles, ReadSetStatus},
    sequence_store::{self, SequenceStore},
};
use readvault_store::{
    catalog::Commit,
    vault::{DomainChoice, FileRole, FileSpec, ItemKind, Metadata, SlotChoice, Store, VaultCommit},
};

const STORE: &str = "1000000001";

type Failure = Box<dyn std::error::Error>;

/// Makes the alias bucket `alias-s3alias` with two active read sets, one archived, and one that
/// failed.
pub(crate) async fn seed(core: &Core) -> Result<(), Failure> {
    let store = core.vault().create_store(&core.site().account, DomainChoice::Own).await?;
    let mut commit = Commit::new();
    let row = SequenceStore {
        id: STORE.into(),
        store: store.clone(),
        name: "seeded".into(),
        description: None,
        alias: "alias-s3alias".into(),
        fallback_location: None,
        etag_family: "MD5up".into(),
        propagated_tags: vec!["project".into()],
        reference_arn: None,
        tags: Vec::new(),
        created_ms: core.now_ms(),
        updated_ms: core.now_ms(),
        closing: false,
    };
    commit.put(sequence_store::row(STORE), encode(&row));
    let alias = Bucket {
        name: "alias-s3alias".into(),
        kind: BucketKind::ReadSets { sequence_store: STORE.into() },
        created_ms: core.now_ms(),
        tags: Vec::new(),
        closing: false,
    };
    commit.put(bucket::row("alias-s3alias"), encode(&alias));
    assert!(core.commit(commit).await?);
    let states = [
        ("2000000001", ReadSetStatus::Active),
        ("2000000002", ReadSetStatus::Archived),
        ("2000000003", ReadSetStatus::UploadFailed),
        ("2000000004", ReadSetStatus::Active),
    ];
    for (id, status) in states {
        read_set(core, &store, id, status).await?;
    }
    Ok(())
}

async fn read_set(
    core: &Core,
    store: &Store,
    id: &str,
    status: ReadSetStatus,
) -> Result<(), Failure> {
    let item = core.vault().new_item(store, ItemKind::ReadSet, SlotChoice::Own).await?;
    let mut files = Vec::new();
    let mut kept = Vec::new();
    for (role, name) in [(FileRole::Source1, "reads.bam"), (FileRole::Index, "reads.bam.bai")] {
        let spec = FileSpec::new(item.clone(), role, Metadata::None);
        let bytes = Bytes::from(format!("{name} of {id}").repeat(20_000));
        let sha256 = hex::encode(Algorithm::Sha256.of(&bytes).value());
        let crc64nvme = Algorithm::Crc64Nvme.of(&bytes).text();
        let body = futures::stream::iter([Ok(bytes)]);
        let staged = core.vault().stage(spec, Box::pin(body)).await?;
        kept.push(ReadSetFile {
            name: name.into(),
            file: staged.file().clone(),
            etag: format!("{}-1", "ab".repeat(16)),
            sha256: Some(sha256),
            md5: None,
            crc64nvme: Some(crc64nvme),
        });
        files.push(staged);
    }
    let index = kept.pop();
    let source1 = kept.pop().ok_or("a file is missing")?;
    let row = ReadSet {
        id: id.into(),
        sequence_store: STORE.into(),
        item,
        status,
        status_message: None,
        file_type: "BAM".into(),
        name: None,
        description: None,
        subject_id: "subject-1".into(),
        sample_id: "sample-1".into(),
        generated_from: None,
        reference_arn: None,
        creation_type: "UPLOAD".into(),
        creation_job: None,
        created_ms: core.now_ms(),
        tags: vec![("project".into(), "p1".into()), ("private".into(), "x".into())],
        files: ReadSetFiles { source1, source2: None, index },
        facts: Some(ReadSetFacts {
            read_count: 1,
            base_count: 1,
            alignment: None,
            etag_algorithm: Some("BAM_MD5up".into()),
            etag_source1: Some("semantic".into()),
            etag_source2: None,
            summary: Default::default(),
        }),
    };
    let mut commit = VaultCommit { files, ..VaultCommit::default() };
    commit.commit.put(read_set::row(STORE, id), encode(&row));
    assert!(core.commit(commit).await?);
    Ok(())
}
