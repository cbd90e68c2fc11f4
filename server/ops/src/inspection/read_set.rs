//! The job that makes an uploaded read set `ACTIVE` or `UPLOAD_FAILED`.

use std::sync::Arc;

use async_trait::async_trait;
use readvault_store::{
    catalog::Commit,
    vault::{Staged, VaultCommit},
};
use serde::{Deserialize, Serialize};

use super::{Inspect, Judge, Judgement, apply, stage_index};
use crate::{
    core::{Core, Stored},
    fault::{Fault, FaultKind, Result},
    jobs::{Attempt, Claim, JobHandler},
    read_set::{self, ReadSet, ReadSetStatus, index},
    sequence_store,
};

pub(super) const KIND: &str = "inspect_read_set";

#[derive(Serialize, Deserialize)]
struct Spec {
    store: String,
    id: String,
}

pub(super) fn spec(store: &str, id: &str) -> serde_json::Value {
    let spec = Spec { store: store.into(), id: id.into() };
    serde_json::to_value(spec).expect("a job's spec serialises to JSON")
}

/// Inspects read sets that were uploaded. A step that runs twice has one effect: the read set
/// changes only while it is `PROCESSING_UPLOAD`, by a commit that also ends the job.
#[derive(Clone, Debug)]
pub struct InspectReadSets {
    core: Core,
    inspector: Arc<dyn Inspect>,
}

impl InspectReadSets {
    /// The handler over `core`.
    #[must_use]
    pub fn new(core: Core, inspector: Arc<dyn Inspect>) -> Self {
        Self { core, inspector }
    }

    async fn end(
        &self,
        claim: &Claim,
        stored: &Stored<ReadSet>,
        (new, files): (ReadSet, Vec<Staged>),
    ) -> Result<Attempt> {
        let old = &stored.value;
        let mut commit = Commit::new();
        claim.end(&mut commit);
        commit.unchanged(read_set::row(&old.sequence_store, &old.id), stored.version);
        index::replace(&mut commit, old, &new);
        let mut commit = VaultCommit { commit, files, removes: Vec::new() };
        read_set::keep(&self.core, &mut commit, &new).await?;
        if self.core.commit(commit).await? {
            return Ok(Attempt::Ended);
        }
        Err(Fault::new(FaultKind::Conflict, "the read set changed while it was inspected"))
    }

    async fn judge(&self, claim: &Claim, read_set: &ReadSet, family: &str) -> Result<Judgement> {
        let files = &read_set.files;
        let sources = std::iter::once(&files.source1).chain(files.source2.as_ref());
        let judge = Judge {
            file_type: &read_set.file_type,
            etag_family: family,
            reference_arn: read_set.reference_arn.as_deref(),
            sources: sources.map(|file| (file.name.as_str(), &file.file)).collect(),
        };
        match judge.run(&self.core, &*self.inspector).await {
            Err(fault) if claim.last_attempt() => Ok(Judgement::Refused(format!(
                "the read set could not be inspected after {} attempts: {fault}",
                claim.job.attempt
            ))),
            judged => judged,
        }
    }
}

#[async_trait]
impl JobHandler for InspectReadSets {
    fn kind(&self) -> &'static str {
        KIND
    }

    async fn run(&self, claim: &Claim) -> Result<Attempt> {
        let spec: Spec = serde_json::from_value(claim.job.spec.clone())
            .map_err(|cause| Fault::new(FaultKind::Corrupt, "a job is malformed").because(cause))?;
        let row = read_set::row(&spec.store, &spec.id);
        let stored = self.core.load::<ReadSet>(&row).await?;
        let open =
            |stored: &Stored<ReadSet>| stored.value.status == ReadSetStatus::ProcessingUpload;
        let Some(stored) = stored.filter(open) else {
            let mut commit = Commit::new();
            claim.end(&mut commit);
            let _ = self.core.commit(commit).await?;
            return Ok(Attempt::Ended);
        };
        let store = sequence_store::load(&self.core, &spec.store).await?.value;
        let judged = self.judge(claim, &stored.value, &store.etag_family).await?;
        let mut new = stored.value.clone();
        let mut files = Vec::new();
        match judged {
            Judgement::Refused(reason) => {
                new.status = ReadSetStatus::UploadFailed;
                new.status_message = Some(reason);
            }
            Judgement::Sound(summary, index) => {
                new.status = ReadSetStatus::Active;
                apply(&mut new, &store.etag_family, &summary);
                let name = new.files.source1.name.clone();
                let made = stage_index(&self.core, &new.item, &name, (&summary, index)).await?;
                if let Some((file, staged)) = made {
                    new.files.index = Some(file);
                    files.push(staged);
                }
            }
        }
        self.end(claim, &stored, (new, files)).await
    }
}
