//! The job that copies files of read sets to a bucket, as `{destination}{readSetId}/{file name}`.

use std::fmt;

use async_trait::async_trait;
use futures::StreamExt;
use readvault_store::{catalog::Commit, vault::BodyError};
use serde::{Deserialize, Serialize};

use super::{EXPORT, ReadSetJob, ReadSetJobKind, row};
use crate::{
    Fault, FaultKind,
    authorize::{Ask, Authorizer},
    body::{Body, Declared},
    core::{Core, Stored, encode},
    fault::Result,
    identity::{Caller, Identity},
    import::{ItemStatus, JobStatus},
    inspection::message,
    jobs::{Attempt, Claim, JobHandler, Jobs},
    object::{Objects, put::PutObject},
    read_set::{self, ReadSetFile, ReadSetStatus},
};

/// The kind of the work that exports.
pub(crate) const KIND: &str = "export_read_sets";

#[derive(Serialize, Deserialize)]
struct Spec {
    store: String,
    id: String,
}

/// Adds to `commit`, which makes `job`, the work that runs it.
pub(super) fn enqueue(jobs: &Jobs, commit: &mut Commit, job: &ReadSetJob) -> uuid::Uuid {
    let spec = Spec { store: job.store.clone(), id: job.id.clone() };
    jobs.enqueue(commit, KIND, serde_json::to_value(spec).expect("a spec serialises to JSON"))
}

/// Exports read sets, under the role of each job. A step that runs twice writes the same object
/// again.
#[derive(Clone)]
pub struct ExportReadSets {
    core: Core,
    identity: Identity,
    authorizer: Authorizer,
    objects: Objects,
}

impl fmt::Debug for ExportReadSets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportReadSets").finish_non_exhaustive()
    }
}

impl ExportReadSets {
    /// The handler over `objects` and the rows below them.
    #[must_use]
    pub fn new(identity: Identity, authorizer: Authorizer, objects: Objects) -> Self {
        Self { core: objects.core().clone(), identity, authorizer, objects }
    }

    async fn one(&self, caller: &Caller, job: &ReadSetJob, id: &str) -> Result<()> {
        let found = read_set::load(&self.core, &job.store, id).await?.value;
        if found.status != ReadSetStatus::Active {
            let status = found.status.as_str();
            return Err(Fault::invalid(format!("the read set is {status}, not ACTIVE")));
        }
        let ReadSetJobKind::Export { destination, .. } = &job.kind else {
            return Err(Fault::internal("an export without a destination"));
        };
        let rest = destination.trim_start_matches("s3://");
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        for file in found.files.all() {
            let key = format!("{prefix}{id}/{}", file.name);
            self.put(caller, file, (bucket, key)).await?;
        }
        Ok(())
    }

    async fn put(
        &self,
        caller: &Caller,
        file: &ReadSetFile,
        (bucket, key): (&str, String),
    ) -> Result<()> {
        let resource = format!("arn:aws:s3:::{bucket}/{key}");
        let ask = Ask::new("s3:PutObject", resource);
        let permit = self.authorizer.authorize(caller, &[ask])?;
        let reader = self.core.vault().open_file(&file.file).await?;
        let live = permit.clone();
        let stream = reader.stream(0..file.file.length).map(move |piece| {
            if !live.live() {
                let fault = Fault::new(FaultKind::AccessDenied, "the role may no longer write");
                return Err(Box::new(fault) as BodyError);
            }
            piece.map_err(|error| Box::new(Fault::from(error)) as BodyError)
        });
        let length = file.file.length;
        let body = Body { stream: stream.boxed(), length, declared: Declared::default() };
        let target = PutObject { bucket: bucket.into(), key, ..PutObject::default() };
        self.objects.put(&permit, target, body).await.map(drop)
    }

    /// Writes the new state of the job under the claim; with `end`, ends the work.
    async fn save(&self, claim: &Claim, job: &Stored<ReadSetJob>, end: bool) -> Result<u64> {
        let key = row(EXPORT, &job.value.store, &job.value.id);
        let mut commit = Commit::new();
        if end {
            claim.end(&mut commit);
        } else {
            claim.guard(&mut commit);
        }
        commit.unchanged(key.clone(), job.version).put(key.clone(), encode(&job.value));
        if !self.core.commit(commit).await? {
            return Err(Fault::new(FaultKind::Conflict, "the job was claimed again"));
        }
        let stored: Option<Stored<ReadSetJob>> = self.core.load(&key).await?;
        stored.map(|stored| stored.version).ok_or_else(|| Fault::internal("a job is gone"))
    }
}

#[async_trait]
impl JobHandler for ExportReadSets {
    fn kind(&self) -> &'static str {
        KIND
    }

    async fn run(&self, claim: &Claim) -> Result<Attempt> {
        let spec: Spec = serde_json::from_value(claim.job.spec.clone())
            .map_err(|cause| Fault::new(FaultKind::Corrupt, "a job is malformed").because(cause))?;
        let stored: Option<Stored<ReadSetJob>> =
            self.core.load(&row(EXPORT, &spec.store, &spec.id)).await?;
        let mut job = stored.ok_or_else(|| Fault::internal("an export job is gone"))?;
        job.value.status = JobStatus::InProgress;
        job.version = self.save(claim, &job, false).await?;
        let ReadSetJobKind::Export { role_arn, .. } = job.value.kind.clone() else {
            return Err(Fault::internal("an export of another kind"));
        };
        for number in 0..job.value.items.len() {
            let item = &job.value.items[number];
            if matches!(item.status, ItemStatus::Finished | ItemStatus::Failed) {
                continue;
            }
            let id = item.read_set.clone();
            let session = format!("export-{}", job.value.id);
            let done = match self.identity.assume(&role_arn, &session) {
                Ok(caller) => self.one(&caller, &job.value, &id).await,
                Err(fault) => Err(fault),
            };
            let item = &mut job.value.items[number];
            match done {
                Ok(()) => item.status = ItemStatus::Finished,
                Err(fault) if fault.kind == FaultKind::SlowDown && !claim.last_attempt() => {
                    return Err(fault);
                }
                Err(fault) => {
                    item.status = ItemStatus::Failed;
                    item.status_message = Some(message(&fault.message));
                }
            }
            job.version = self.save(claim, &job, false).await?;
        }
        job.value.end(self.core.now_ms());
        self.save(claim, &job, true).await?;
        Ok(Attempt::Ended)
    }
}
