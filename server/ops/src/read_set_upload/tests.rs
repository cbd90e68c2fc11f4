//! Uploads, inspection and imports over a vault in memory, with an inspector whose verdicts are scripted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use readvault_ambient::System;
use readvault_inspect_protocol::{
    Alignment, ByteStream, Container, FileType, InspectError, InspectRequest, Inspection,
    SourceSummary, Summary, Verdict,
};

use super::{PartSource, abort, complete, create, part};
use crate::{
    Fault, FaultKind,
    authorize::{Ask, Authorizer, Permit},
    body::Body,
    bucket::{Buckets, create::NewBucket},
    core::{Core, Site},
    identity::{Caller, Identity, Principal, RootCredentials, SecretKey},
    import::{
        ImportKind, ImportSources, ItemStatus, JobStatus, S3Uri, read as imports,
        start::{self, NewImport, NewSource},
    },
    inspection::{Inspect, InspectReadSets},
    jobs::{JobHandler, Jobs},
    object::{Objects, Settings, find::Name, put::PutObject},
    read_set::{self, ReadSetStatus, details::ReadSetDetails, download},
    read_set_upload::discard::DiscardParts,
    sequence_store,
};

/// What the inspector does, call by call; beyond the end it accepts.
#[derive(Clone, Copy, Debug)]
enum Act {
    Fail,
    Refuse,
}

#[derive(Debug, Default)]
struct Scripted {
    acts: Mutex<Vec<Act>>,
    calls: AtomicUsize,
}

#[async_trait]
impl Inspect for Scripted {
    async fn inspect(
        &self,
        request: &InspectRequest,
        sources: Vec<ByteStream>,
    ) -> Result<Inspection, InspectError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let mut found = Vec::new();
        for mut source in sources {
            let mut count = 0;
            while let Some(piece) = source.next().await {
                let piece = piece.map_err(|source| InspectError::Source { number: 0, source })?;
                count += piece.len() as u64;
            }
            found.push(SourceSummary {
                read_count: 1,
                base_count: 1,
                byte_count: count,
                container: Container::Plain,
                semantic_etag: Some("e".into()),
                sha256: "s".into(),
                md5: "m".into(),
                crc64nvme: 1,
            });
        }
        let act = self.acts.lock().pop();
        let verdict = match act {
            Some(Act::Fail) => {
                return Err(InspectError::Start(std::io::Error::other("no process")));
            }
            Some(Act::Refuse) => Verdict::refused("bad bytes"),
            None => Verdict::Accepted(Box::new(Summary {
                file_type: request.file_type.unwrap_or(FileType::Fastq),
                sources: found,
                alignment: Alignment::Unaligned,
                sort_order: None,
                header: None,
                reference: Vec::new(),
                index: None,
                notes: Vec::new(),
            })),
        };
        Ok(Inspection { verdict, index: None })
    }
}

struct Rig {
    core: Core,
    jobs: Jobs,
    permit: Permit,
    identity: Identity,
    authorizer: Authorizer,
    objects: Objects,
    inspector: Arc<Scripted>,
    store: String,
}

impl Rig {
    async fn new() -> Self {
        let site = Site { account: "123456789012".into(), region: "us-east-1".into() };
        let vault = readvault_store::testing::vault().await;
        let core = Core::new(vault, site.clone(), Arc::new(System), Arc::new(System));
        let secret = SecretKey::new("s".into());
        let identity = Identity::new(site, RootCredentials { access_key: "a".into(), secret });
        let authorizer = Authorizer::default();
        let root = Caller { principal: Principal::Root, ..Caller::anonymous() };
        let permit = authorizer.authorize(&root, &[Ask::new("*", "*")]).expect("root");
        let new = sequence_store::create::NewSequenceStore {
            name: "s".into(),
            description: None,
            fallback_location: None,
            etag_family: "MD5up".into(),
            propagated_tags: Vec::new(),
            tags: Vec::new(),
            client_token: None,
        };
        let store = sequence_store::create::create(&core, &permit, new).await.expect("a store");
        Self {
            jobs: Jobs::new(core.clone()),
            objects: Objects::new(Buckets::new(core.clone()), Settings::default()),
            core,
            permit,
            identity,
            authorizer,
            inspector: Arc::default(),
            store: store.id,
        }
    }

    /// Runs jobs until the test ends.
    fn run(&self) {
        let inspector: Arc<dyn Inspect> = self.inspector.clone();
        let handlers: Vec<Arc<dyn JobHandler>> = vec![
            Arc::new(InspectReadSets::new(self.core.clone(), inspector.clone())),
            Arc::new(DiscardParts::new(self.core.clone())),
            Arc::new(ImportSources::new(
                self.identity.clone(),
                self.authorizer.clone(),
                self.objects.clone(),
                inspector,
            )),
        ];
        let jobs = self.jobs.clone();
        tokio::spawn(async move { jobs.run(handlers, 2).await });
    }

    async fn upload(&self) -> String {
        let made = create::create(&self.core, &self.permit, &self.store, details(), None).await;
        made.expect("an upload").id
    }

    async fn put(&self, upload: &str, number: u32, bytes: &'static [u8]) -> super::UploadedPart {
        let new = part::NewPart {
            store: self.store.clone(),
            upload: upload.into(),
            source: PartSource::Source1,
            number,
            sha256: None,
        };
        let body = futures::stream::iter([Ok(Bytes::from_static(bytes))]);
        part::put(&self.core, &self.permit, new, body).await.expect("a part")
    }

    async fn complete(&self, upload: &str, parts: &[super::UploadedPart]) -> String {
        let listed = parts.iter().map(|part| complete::ListedPart {
            part_number: part.number,
            part_source: part.source,
            checksum: part.checksum.clone(),
        });
        let ids = (self.store.as_str(), upload);
        complete::complete(&self.core, &self.jobs, &self.permit, ids, listed.collect())
            .await
            .expect("a read set")
    }

    async fn settled(&self, id: &str) -> read_set::ReadSet {
        for _ in 0..400 {
            let found = read_set::load(&self.core, &self.store, id).await.expect("a read set");
            if found.value.status != ReadSetStatus::ProcessingUpload {
                return found.value;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the read set stays unsettled");
    }
}

fn details() -> ReadSetDetails {
    ReadSetDetails {
        file_type: "FASTQ".into(),
        name: Some("n".into()),
        description: None,
        subject_id: "s".into(),
        sample_id: "p".into(),
        generated_from: None,
        reference_arn: None,
        tags: Vec::new(),
    }
}

fn kind<T>(result: Result<T, Fault>) -> FaultKind {
    result.err().expect("a fault").kind
}

#[tokio::test]
async fn an_upload_becomes_active_after_an_inspection_that_failed_once() {
    let rig = Rig::new().await;
    rig.inspector.acts.lock().push(Act::Fail);
    let upload = rig.upload().await;
    let parts = [rig.put(&upload, 1, b"one ").await, rig.put(&upload, 2, b"two").await];
    let id = rig.complete(&upload, &parts).await;
    let which = (rig.store.as_str(), id.as_str());
    let part = (download::ReadSetFileName::Source1, 1);
    let early = download::part(&rig.core, &rig.permit, which, part).await;
    assert_eq!(kind(early), FaultKind::InvalidState);
    rig.run();
    let settled = rig.settled(&id).await;
    assert_eq!(settled.status, ReadSetStatus::Active);
    assert_eq!(rig.inspector.calls.load(Ordering::SeqCst), 2);
    let found = download::part(&rig.core, &rig.permit, which, part).await.expect("its bytes");
    let pieces: Vec<_> = found.stream().collect().await;
    let bytes: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.expect("sound")).collect();
    assert_eq!(bytes, b"one two");
}

#[tokio::test]
async fn a_refused_upload_says_why_and_can_be_deleted() {
    let rig = Rig::new().await;
    rig.inspector.acts.lock().push(Act::Refuse);
    rig.run();
    let upload = rig.upload().await;
    let parts = [rig.put(&upload, 1, b"x").await];
    let id = rig.complete(&upload, &parts).await;
    let settled = rig.settled(&id).await;
    assert_eq!(settled.status, ReadSetStatus::UploadFailed);
    assert_eq!(settled.status_message.as_deref(), Some("bad bytes"));
    read_set::delete::delete(&rig.core, &rig.permit, &rig.store, &id).await.expect("gone");
    assert!(rig.core.vault().open_file(&settled.files.source1.file).await.is_err());
}

#[tokio::test]
async fn a_part_that_comes_again_replaces_the_first() {
    let rig = Rig::new().await;
    let upload = rig.upload().await;
    let first = rig.put(&upload, 1, b"first").await;
    let second = rig.put(&upload, 1, b"second").await;
    assert_eq!(first.created_ms, second.created_ms);
    assert!(rig.core.vault().open_file(&first.file).await.is_err());
    assert!(rig.core.vault().open_file(&second.file).await.is_ok());
    rig.run();
    let ids = (rig.store.as_str(), upload.as_str());
    abort::abort(&rig.core, &rig.jobs, &rig.permit, ids).await.expect("aborted");
    for _ in 0..200 {
        if rig.core.vault().open_file(&second.file).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the parts of an aborted upload stay");
}

#[tokio::test]
async fn a_store_that_is_not_empty_is_not_deleted() {
    let rig = Rig::new().await;
    let upload = rig.upload().await;
    let delete = || sequence_store::delete::delete(&rig.core, &rig.permit, &rig.store);
    assert_eq!(kind(delete().await), FaultKind::NotEmpty);
    // The mark that the attempt left is taken away by whatever comes next.
    let other = rig.upload().await;
    let store = sequence_store::load(&rig.core, &rig.store).await.expect("it is there");
    assert!(!store.value.closing);
    for upload in [upload, other] {
        let ids = (rig.store.as_str(), upload.as_str());
        abort::abort(&rig.core, &rig.jobs, &rig.permit, ids).await.expect("aborted");
    }
    delete().await.expect("empty");
    assert_eq!(kind(delete().await), FaultKind::NotFound);
}

#[tokio::test]
async fn a_token_answers_the_same_upload_and_no_other_request() {
    let rig = Rig::new().await;
    let (core, permit) = (&rig.core, &rig.permit);
    let ask = |details| create::create(core, permit, &rig.store, details, Some("t".into()));
    let one = ask(details()).await.expect("an upload");
    assert_eq!(ask(details()).await.expect("the same").id, one.id);
    let other = ReadSetDetails { name: Some("other".into()), ..details() };
    assert_eq!(kind(ask(other).await), FaultKind::Conflict);
}

/// An import that stopped between its commits goes on from its stored bytes: the source may be gone.
#[tokio::test]
async fn an_import_goes_on_where_it_stopped() {
    let rig = Rig::new().await;
    let (core, permit) = (&rig.core, &rig.permit);
    let bucket = NewBucket { name: "drop".into(), ..NewBucket::default() };
    rig.objects.buckets().create(permit, bucket).await.expect("a bucket");
    let target = PutObject { bucket: "drop".into(), key: "a/b.fq".into(), ..PutObject::default() };
    let body = Body::from_bytes(Bytes::from_static(b"bytes"));
    rig.objects.put(permit, target, body).await.expect("an object");
    rig.inspector.acts.lock().push(Act::Fail);
    rig.run();
    let source1 = S3Uri::parse("s3://drop/a/b.fq").expect("an object");
    let new = NewImport {
        kind: ImportKind::ReadSets,
        store: rig.store.clone(),
        role_arn: rig.identity.run_role_arn(),
        sources: vec![NewSource { source1, source2: None, details: details() }],
        client_token: None,
    };
    let job = start::start(core, &rig.jobs, permit, new).await.expect("a job");
    let which = (ImportKind::ReadSets, rig.store.as_str(), job.id.as_str());
    let mut deleted = false;
    for _ in 0..400 {
        let (now, items) = imports::get(core, permit, which).await.expect("the job");
        if !deleted && items[0].stored.is_some() {
            let name = Name::new("drop", "a/b.fq");
            rig.objects.delete(permit, &name, None).await.expect("the source is gone");
            deleted = true;
        }
        if now.status == JobStatus::Completed {
            assert!(deleted, "the source was deleted before the job ended");
            assert_eq!(items[0].status, ItemStatus::Finished);
            let made = items[0].made.as_deref().expect("an id");
            let made = read_set::load(core, &rig.store, made).await.expect("a read set").value;
            assert_eq!(made.status, ReadSetStatus::Active);
            assert_eq!(made.files.source1.name, "b.fq");
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the import does not end");
}
