//! StartReadSetExportJob and StartReadSetActivationJob.

use readvault_store::catalog::Commit;
use serde::Serialize;

use super::{ReadSetJob, ReadSetJobItem, ReadSetJobKind, export, row};
use crate::{
    authorize::Permit,
    core::{Core, DECISIONS_MAX, contended, encode},
    fault::Result,
    idempotency::Once,
    import::{ItemStatus, JobStatus},
    jobs::Jobs,
    read_set::{self, ReadSetStatus},
    sequence_store,
};

/// First number of a job: ids have ten digits.
const FIRST_ID: u64 = 1_000_000_001;

/// A job that is asked for.
#[derive(Clone, Debug, Serialize)]
pub struct NewReadSetJob {
    /// What it does.
    pub kind: ReadSetJobKind,
    /// Id of the sequence store.
    pub store: String,
    /// Ids of the read sets.
    pub read_sets: Vec<String>,
    /// The client's token.
    #[serde(skip)]
    pub client_token: Option<String>,
}

/// Begins a job. An activation ends at once: every read set of this vault is kept as uploaded.
/// Durable when it returns; the same token answers the same job.
///
/// # Errors
/// `NotFound` for the store; `Conflict` when the token came with another request.
pub async fn start(
    core: &Core,
    jobs: &Jobs,
    _permit: &Permit,
    new: NewReadSetJob,
) -> Result<ReadSetJob> {
    let operation = format!("StartReadSetJob/{}/{}", new.kind.name(), new.store);
    let once = Once::new(&operation, new.client_token.as_deref(), &new);
    for _ in 0..DECISIONS_MAX {
        if let Some(job) = once.earlier(core).await? {
            return Ok(job);
        }
        let held = sequence_store::load(core, &new.store).await?;
        let job = fresh(core, &new).await?;
        let mut commit = Commit::new();
        sequence_store::hold(&mut commit, &held, None);
        let key = row(job.kind.name(), &job.store, &job.id);
        commit.absent(key.clone()).put(key, encode(&job));
        once.keep(core, &mut commit, &job);
        let work = match job.kind {
            ReadSetJobKind::Export { .. } => Some(export::enqueue(jobs, &mut commit, &job)),
            ReadSetJobKind::Activation => None,
        };
        if core.commit(commit).await? {
            if let Some(work) = work {
                jobs.wake(work);
            }
            return Ok(job);
        }
    }
    Err(contended())
}

async fn fresh(core: &Core, new: &NewReadSetJob) -> Result<ReadSetJob> {
    let mut items = Vec::new();
    for id in &new.read_sets {
        let (status, status_message) = match new.kind {
            ReadSetJobKind::Export { .. } => (ItemStatus::NotStarted, None),
            ReadSetJobKind::Activation => activated(core, &new.store, id).await?,
        };
        items.push(ReadSetJobItem { read_set: id.clone(), status, status_message });
    }
    let mut job = ReadSetJob {
        id: core.next_id("read_set_job", FIRST_ID).await?.to_string(),
        kind: new.kind.clone(),
        store: new.store.clone(),
        status: JobStatus::Submitted,
        status_message: None,
        created_ms: core.now_ms(),
        completed_ms: None,
        items,
    };
    if job.kind == ReadSetJobKind::Activation {
        job.end(core.now_ms());
    }
    Ok(job)
}

async fn activated(core: &Core, store: &str, id: &str) -> Result<(ItemStatus, Option<String>)> {
    let found = core.load::<read_set::ReadSet>(&read_set::row(store, id)).await?;
    Ok(match found.map(|found| found.value.status) {
        Some(ReadSetStatus::Active) => (ItemStatus::Finished, None),
        Some(status) => {
            let message = format!("the read set is {}", status.as_str());
            (ItemStatus::Failed, Some(message))
        }
        None => (ItemStatus::Failed, Some("the read set does not exist".into())),
    })
}
