//! The job that removes the parts of an upload that is complete or aborted.

use async_trait::async_trait;
use readvault_store::{
    catalog::{Commit, Fold, ScanRange},
    ids::ItemId,
    vault::{Removal, VaultCommit},
};
use serde::{Deserialize, Serialize};

use super::{ReadSetUpload, UploadedPart, part_prefix};
use crate::{
    core::{Core, decode},
    fault::{Fault, FaultKind, Result},
    jobs::{Attempt, Claim, JobHandler, Jobs},
    tables,
};

const KIND: &str = "discard_read_set_parts";
/// Parts of one commit: each costs a tombstone and a row.
const BATCH: usize = 200;

#[derive(Serialize, Deserialize)]
struct Spec {
    upload: String,
    item: ItemId,
}

/// Adds to `commit`, which ends `upload`, the job that removes its parts.
pub(crate) fn enqueue(jobs: &Jobs, commit: &mut Commit, upload: &ReadSetUpload) -> uuid::Uuid {
    let spec = Spec { upload: upload.id.clone(), item: upload.item.id };
    let spec = serde_json::to_value(spec).expect("a job's spec serialises to JSON");
    jobs.enqueue(commit, KIND, spec)
}

/// Removes the parts of uploads that ended.
#[derive(Clone, Debug)]
pub struct DiscardParts {
    core: Core,
}

impl DiscardParts {
    /// The handler over `core`.
    #[must_use]
    pub fn new(core: Core) -> Self {
        Self { core }
    }
}

#[async_trait]
impl JobHandler for DiscardParts {
    fn kind(&self) -> &'static str {
        KIND
    }

    async fn run(&self, claim: &Claim) -> Result<Attempt> {
        let spec: Spec = serde_json::from_value(claim.job.spec.clone())
            .map_err(|cause| Fault::new(FaultKind::Corrupt, "a job is malformed").because(cause))?;
        let range = ScanRange::prefix(tables::PARTS, part_prefix(&spec.upload, None));
        loop {
            let page = self.core.catalog().scan(&range, &Fold::default(), BATCH).await?;
            let mut commit = Commit::new();
            let mut removes = Vec::new();
            for row in page.rows() {
                let part: UploadedPart = decode(&row.value)?;
                removes.push(Removal { item: part.item.id, files: vec![part.file] });
                commit.delete(readvault_store::catalog::RowKey::new(tables::PARTS, row.key));
            }
            if removes.is_empty() {
                claim.end(&mut commit);
            } else {
                claim.guard(&mut commit);
            }
            let last = removes.is_empty();
            let applied =
                self.core.commit(VaultCommit { commit, files: Vec::new(), removes }).await?;
            if !applied {
                return Err(Fault::new(FaultKind::Conflict, "the job was claimed again"));
            }
            if last {
                return Ok(Attempt::Ended);
            }
        }
    }
}
