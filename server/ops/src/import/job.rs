//! The job that imports sources, one after the other.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use futures::StreamExt;
use readvault_store::{
    catalog::Commit,
    vault::{
        BodyError, FileRole, FileSpec, Item, ItemKind, Metadata, Removal, SlotChoice, Staged,
        Store, VaultCommit,
    },
};
use serde::{Deserialize, Serialize};

use super::{
    ImportItem, ImportJob, ImportKind, ItemStatus, JobStatus, S3Uri, StoredItem, finish, item_row,
    read, row,
};
use crate::{
    Fault, FaultKind,
    authorize::{Ask, Authorizer, Permit},
    core::{Core, Stored, encode},
    fault::Result,
    identity::Identity,
    inspection::{Inspect, Judge, Judgement, message},
    jobs::{Attempt, Claim, JobHandler, Jobs},
    object::{Objects, find::Name, get::GetObject},
    reference_store, sequence_store,
};

const KIND: &str = "import";

#[derive(Serialize, Deserialize)]
struct Spec {
    kind: ImportKind,
    store: String,
    id: String,
}

/// Adds to `commit`, which makes `job`, the work that runs it.
pub(super) fn enqueue(jobs: &Jobs, commit: &mut Commit, job: &ImportJob) -> uuid::Uuid {
    let spec = Spec { kind: job.kind, store: job.store.clone(), id: job.id.clone() };
    jobs.enqueue(commit, KIND, serde_json::to_value(spec).expect("a spec serialises to JSON"))
}

/// Imports read sets and references from `s3://` sources, under the role of each job.
#[derive(Clone)]
pub struct ImportSources {
    pub(super) core: Core,
    identity: Identity,
    authorizer: Authorizer,
    objects: Objects,
    inspector: Arc<dyn Inspect>,
}

impl fmt::Debug for ImportSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImportSources").finish_non_exhaustive()
    }
}

/// One source at work.
pub(super) struct Work<'a> {
    pub(super) claim: &'a Claim,
    pub(super) job: &'a ImportJob,
    pub(super) number: usize,
    pub(super) item: Stored<ImportItem>,
}

impl Work<'_> {
    /// Adds to `commit` the change of this source's row to `item`, under the claim.
    pub(super) fn put(&self, commit: &mut Commit, item: &ImportItem) {
        let key = item_row(&self.job.id, self.number);
        self.claim.guard(commit);
        commit.unchanged(key.clone(), self.item.version).put(key, encode(item));
    }
}

impl ImportSources {
    /// The handler over `objects`, the rows below them, and `inspector`.
    #[must_use]
    pub fn new(
        identity: Identity,
        authorizer: Authorizer,
        objects: Objects,
        inspector: Arc<dyn Inspect>,
    ) -> Self {
        Self { core: objects.core().clone(), identity, authorizer, objects, inspector }
    }

    /// Runs one source to its end, or as far as its row says when it can't go on now.
    async fn one(&self, mut work: Work<'_>) -> Result<()> {
        if work.item.value.status == ItemStatus::NotStarted {
            let mut item = work.item.value.clone();
            item.status = ItemStatus::InProgress;
            self.change(&mut work, item, Vec::new(), Vec::new()).await?;
        }
        if work.item.value.stored.is_none() {
            match self.fetch(&work).await {
                Ok((stored, files)) => {
                    let item = ImportItem { stored: Some(stored), ..work.item.value.clone() };
                    self.change(&mut work, item, files, Vec::new()).await?;
                }
                Err(fault) => return self.fail_or_retry(&mut work, fault).await,
            }
        }
        let judged = match self.judge(&work).await {
            Ok(judged) => judged,
            Err(fault) => return self.fail_or_retry(&mut work, fault).await,
        };
        let ended = match judged {
            Judgement::Refused(reason) => return self.fail(&mut work, reason).await,
            Judgement::Sound(summary, index) => match work.job.kind {
                ImportKind::ReadSets => {
                    finish::read_set(&self.core, &work, (&summary, index)).await
                }
                ImportKind::References => {
                    finish::reference(&self.core, &work, (&summary, index)).await
                }
            },
        };
        match ended {
            Ok(()) => Ok(()),
            Err(fault) => self.fail_or_retry(&mut work, fault).await,
        }
    }

    /// Stores the bytes of the sources; nothing of them is visible yet.
    async fn fetch(&self, work: &Work<'_>) -> Result<(StoredItem, Vec<Staged>)> {
        let session = format!("import-{}", work.job.id);
        let caller = self.identity.assume(&work.job.role_arn, &session)?;
        let (store, kind) = self.target(work.job).await?;
        let item = self.core.vault().new_item(&store, kind, SlotChoice::Own).await?;
        let mut staged = Vec::new();
        let sources = [
            (Some(&work.item.value.source1), FileRole::Source1),
            (work.item.value.source2.as_ref(), FileRole::Source2),
        ];
        for (uri, role) in sources {
            let Some(uri) = uri else { continue };
            let ask = Ask::new("s3:GetObject", uri.arn());
            let permit = self.authorizer.authorize(&caller, &[ask])?;
            staged.push(self.copy(&permit, uri, (&item, role)).await?);
        }
        let files = staged.iter().map(|staged| staged.file().clone()).collect();
        Ok((StoredItem { item, files }, staged))
    }

    async fn target(&self, job: &ImportJob) -> Result<(Store, ItemKind)> {
        Ok(match job.kind {
            ImportKind::ReadSets => {
                let store = sequence_store::load(&self.core, &job.store).await?;
                (store.value.store, ItemKind::ReadSet)
            }
            ImportKind::References => {
                let store = reference_store::load(&self.core, &job.store).await?;
                (store.value.store, ItemKind::Reference)
            }
        })
    }

    /// Stages the object `uri`: without moving data where both stores share a domain, else by a
    /// copy.
    async fn copy(
        &self,
        permit: &Permit,
        uri: &S3Uri,
        (item, role): (&Item, FileRole),
    ) -> Result<Staged> {
        let name = Name::new(&uri.bucket, &uri.key);
        let located = |fault: Fault| {
            let message = format!("{uri}: {}", fault.message);
            Fault { message: message.into(), ..fault }
        };
        let head =
            self.objects.head(permit, &name, &GetObject::default()).await.map_err(located)?;
        head.found.readable().map_err(located)?;
        let file = &head.found.file;
        if file.length == 0 {
            return Err(Fault::invalid(format!("{uri}: the object is empty")));
        }
        let spec = FileSpec::new(item.clone(), role, Metadata::None);
        let vault = self.core.vault();
        if let Some(staged) = vault.adopt(spec.clone(), file).await? {
            return Ok(staged);
        }
        let permit = permit.clone();
        let body = vault.open_file(file).await?.stream(0..file.length).map(move |piece| {
            if !permit.live() {
                let fault = Fault::new(FaultKind::AccessDenied, "the role may no longer read");
                return Err(Box::new(fault) as BodyError);
            }
            piece.map_err(|error| Box::new(Fault::from(error)) as BodyError)
        });
        self.core.stage(spec, body).await
    }

    async fn judge(&self, work: &Work<'_>) -> Result<Judgement> {
        let item = &work.item.value;
        let stored = item.stored.as_ref().expect("bytes are judged once they are stored");
        let family = match work.job.kind {
            ImportKind::ReadSets => {
                sequence_store::load(&self.core, &work.job.store).await?.value.etag_family
            }
            ImportKind::References => "MD5up".into(),
        };
        let names = [Some(&item.source1), item.source2.as_ref()];
        let judge = Judge {
            file_type: match work.job.kind {
                ImportKind::ReadSets => &item.details.file_type,
                ImportKind::References => "REFERENCE",
            },
            etag_family: &family,
            reference_arn: item.details.reference_arn.as_deref(),
            sources: names
                .into_iter()
                .flatten()
                .map(|uri| uri.key.as_str())
                .zip(&stored.files)
                .collect(),
        };
        judge.run(&self.core, &*self.inspector).await
    }

    /// Ends the source as failed, unless the fault may pass and attempts are left.
    async fn fail_or_retry(&self, work: &mut Work<'_>, fault: Fault) -> Result<()> {
        let passes = matches!(
            fault.kind,
            FaultKind::SlowDown
                | FaultKind::InsufficientStorage
                | FaultKind::Internal
                | FaultKind::Conflict
        );
        if passes && !work.claim.last_attempt() {
            return Err(fault);
        }
        self.fail(work, message(&fault.message)).await
    }

    async fn fail(&self, work: &mut Work<'_>, reason: String) -> Result<()> {
        let mut item = work.item.value.clone();
        item.status = ItemStatus::Failed;
        item.status_message = Some(reason);
        let removes =
            item.stored.take().map(|stored| Removal { item: stored.item.id, files: stored.files });
        self.change(work, item, Vec::new(), removes.into_iter().collect()).await
    }

    /// Commits the new state of the source and reads its row again.
    async fn change(
        &self,
        work: &mut Work<'_>,
        item: ImportItem,
        files: Vec<Staged>,
        removes: Vec<Removal>,
    ) -> Result<()> {
        let mut commit = Commit::new();
        work.put(&mut commit, &item);
        if !self.core.commit(VaultCommit { commit, files, removes }).await? {
            return Err(Fault::new(FaultKind::Conflict, "the job was claimed again"));
        }
        let key = item_row(&work.job.id, work.number);
        work.item = self
            .core
            .load(&key)
            .await?
            .ok_or_else(|| Fault::internal("a source of a job is gone"))?;
        Ok(())
    }

    /// Writes the job's new state; with `end`, ends the work.
    async fn save(
        &self,
        claim: &Claim,
        stored: &Stored<ImportJob>,
        job: &ImportJob,
        end: bool,
    ) -> Result<()> {
        let key = row(job.kind, &job.store, &job.id);
        let mut commit = Commit::new();
        if end {
            claim.end(&mut commit);
        } else {
            claim.guard(&mut commit);
        }
        commit.unchanged(key.clone(), stored.version).put(key, encode(job));
        if self.core.commit(commit).await? {
            return Ok(());
        }
        Err(Fault::new(FaultKind::Conflict, "the job was claimed again"))
    }

    async fn stored(&self, spec: &Spec) -> Result<Option<Stored<ImportJob>>> {
        self.core.load(&row(spec.kind, &spec.store, &spec.id)).await
    }
}

/// The state of a job whose sources ended so.
fn outcome(items: &[Stored<ImportItem>]) -> (JobStatus, Option<String>) {
    let failed = items.iter().filter(|item| item.value.status == ItemStatus::Failed).count();
    JobStatus::outcome(failed, items.len())
}

#[async_trait]
impl JobHandler for ImportSources {
    fn kind(&self) -> &'static str {
        KIND
    }

    async fn run(&self, claim: &Claim) -> Result<Attempt> {
        let spec: Spec = serde_json::from_value(claim.job.spec.clone())
            .map_err(|cause| Fault::new(FaultKind::Corrupt, "a job is malformed").because(cause))?;
        let Some(stored) = self.stored(&spec).await? else {
            let mut commit = Commit::new();
            claim.end(&mut commit);
            let _ = self.core.commit(commit).await?;
            return Ok(Attempt::Ended);
        };
        let mut job = stored.value.clone();
        if job.status == JobStatus::Submitted {
            job.status = JobStatus::InProgress;
            self.save(claim, &stored, &job, false).await?;
        }
        let mut delayed = None;
        for (number, item) in read::items(&self.core, &spec.id).await?.into_iter().enumerate() {
            if !item.value.status.ended() {
                let work = Work { claim, job: &job, number, item };
                delayed = self.one(work).await.err().or(delayed);
            }
        }
        if let Some(fault) = delayed {
            return Err(fault);
        }
        let stored =
            self.stored(&spec).await?.ok_or_else(|| Fault::internal("an import job is gone"))?;
        (job.status, job.status_message) = outcome(&read::items(&self.core, &spec.id).await?);
        job.completed_ms = Some(self.core.now_ms());
        self.save(claim, &stored, &job, true).await?;
        Ok(Attempt::Ended)
    }
}
