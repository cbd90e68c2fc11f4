//! AbortMultipartReadSetUpload.

use readvault_store::catalog::Commit;

use super::{discard, load, row};
use crate::{
    authorize::Permit,
    core::{Core, DECISIONS_MAX, contended},
    fault::Result,
    jobs::Jobs,
};

/// Ends an upload without a read set; a job removes its parts. Durable when it returns.
///
/// # Errors
/// `NoSuchUpload`; those of the catalog.
pub async fn abort(
    core: &Core,
    jobs: &Jobs,
    _permit: &Permit,
    (store, id): (&str, &str),
) -> Result<()> {
    for _ in 0..DECISIONS_MAX {
        let upload = load(core, store, id).await?;
        let mut commit = Commit::new();
        commit.unchanged(row(store, id), upload.version).delete(row(store, id));
        let job = discard::enqueue(jobs, &mut commit, &upload.value);
        if core.commit(commit).await? {
            jobs.wake(job);
            return Ok(());
        }
    }
    Err(contended())
}
