//! StartReadSetImportJob and StartReferenceImportJob.

use readvault_store::catalog::Commit;
use serde::Serialize;

use super::{
    ImportItem, ImportJob, ImportKind, ItemStatus, JobStatus, S3Uri, SOURCES_MAX, item_row, job,
    row,
};
use crate::{
    Fault,
    authorize::Permit,
    core::{Core, DECISIONS_MAX, contended, encode},
    fault::Result,
    idempotency::Once,
    jobs::Jobs,
    read_set::details::ReadSetDetails,
    reference_store, sequence_store,
};

/// First number of an import job: ids have ten digits.
const FIRST_ID: u64 = 1_000_000_001;

/// An import job that is asked for.
#[derive(Clone, Debug, Serialize)]
pub struct NewImport {
    /// What it imports.
    pub kind: ImportKind,
    /// Id of the store that it imports into.
    pub store: String,
    /// ARN of the role under which it reads.
    pub role_arn: String,
    /// The sources.
    pub sources: Vec<NewSource>,
    /// The client's token.
    #[serde(skip)]
    pub client_token: Option<String>,
}

/// One source that is to be imported.
#[derive(Clone, Debug, Serialize)]
pub struct NewSource {
    /// The first source.
    pub source1: S3Uri,
    /// The second of a FASTQ pair.
    pub source2: Option<S3Uri>,
    /// What it will be.
    pub details: ReadSetDetails,
}

/// Begins an import job. Durable when it returns; the same token answers the same job.
///
/// # Errors
/// `NotFound` for the store or a reference; `InvalidArgument`; `Conflict` when the token came with
/// another request.
pub async fn start(
    core: &Core,
    jobs: &Jobs,
    _permit: &Permit,
    new: NewImport,
) -> Result<ImportJob> {
    if !(1..=SOURCES_MAX).contains(&new.sources.len()) {
        return Err(Fault::invalid("sources must have 1 to 100 entries"));
    }
    let operation = format!("StartImportJob/{}/{}", new.kind.as_str(), new.store);
    let once = Once::new(&operation, new.client_token.as_deref(), &new);
    for _ in 0..DECISIONS_MAX {
        if let Some(job) = once.earlier(core).await? {
            return Ok(job);
        }
        let mut commit = Commit::new();
        hold(core, &mut commit, &new).await?;
        let job = ImportJob {
            id: core.next_id("import", FIRST_ID).await?.to_string(),
            kind: new.kind,
            store: new.store.clone(),
            role_arn: new.role_arn.clone(),
            status: JobStatus::Submitted,
            status_message: None,
            created_ms: core.now_ms(),
            completed_ms: None,
            sources: new.sources.len(),
        };
        let key = row(new.kind, &new.store, &job.id);
        commit.absent(key.clone()).put(key, encode(&job));
        for (number, source) in new.sources.iter().enumerate() {
            commit.put(item_row(&job.id, number), encode(&item(source)));
        }
        once.keep(core, &mut commit, &job);
        let work = job::enqueue(jobs, &mut commit, &job);
        if core.commit(commit).await? {
            jobs.wake(work);
            return Ok(job);
        }
    }
    Err(contended())
}

/// Checks the sources against their store, and holds the store while the job is made.
async fn hold(core: &Core, commit: &mut Commit, new: &NewImport) -> Result<()> {
    match new.kind {
        ImportKind::ReadSets => {
            let store = sequence_store::load(core, &new.store).await?;
            for source in &new.sources {
                source.details.check(core, &store.value).await?;
                if source.source2.is_some() && source.details.file_type != "FASTQ" {
                    return Err(Fault::invalid("only FASTQ sources have a source2"));
                }
            }
            sequence_store::hold(commit, &store, None);
        }
        ImportKind::References => {
            let store = reference_store::load(core, &new.store).await?;
            reference_store::hold(commit, &store);
        }
    }
    Ok(())
}

fn item(source: &NewSource) -> ImportItem {
    ImportItem {
        source1: source.source1.clone(),
        source2: source.source2.clone(),
        details: source.details.clone(),
        status: ItemStatus::NotStarted,
        status_message: None,
        made: None,
        stored: None,
    }
}
