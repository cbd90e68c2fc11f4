//! Get and List of export and activation jobs.

use super::{ReadSetJob, row};
use crate::{
    Fault,
    authorize::Permit,
    core::{Core, Stored, key_of},
    fault::Result,
    import::read::JobFilter,
    listing::{Page, PageOf, page},
    sequence_store::{self, read::within},
    tables,
};

/// The job `id` of `kind` of `store`.
///
/// # Errors
/// `NotFound`; those of the catalog.
pub async fn get(
    core: &Core,
    _permit: &Permit,
    (kind, store, id): (&str, &str, &str),
) -> Result<ReadSetJob> {
    let job: Option<Stored<ReadSetJob>> = core.load(&row(kind, store, id)).await?;
    job.map(|job| job.value)
        .ok_or_else(|| Fault::not_found(format!("the {kind} job {id} does not exist")))
}

/// A page of the jobs of `kind` of `store` that `filter` takes, by id.
///
/// # Errors
/// `NotFound` for the store; those of the catalog.
pub async fn list(
    core: &Core,
    _permit: &Permit,
    (kind, store): (&str, &str),
    (filter, of): (&JobFilter, &PageOf),
) -> Result<Page<ReadSetJob>> {
    sequence_store::load(core, store).await?;
    page(core, (tables::IMPORTS, key_of(&[kind, store])), of, |job: &ReadSetJob| {
        filter.status.as_ref().is_none_or(|status| status == job.status.as_str())
            && within(job.created_ms, filter.created_after, filter.created_before)
    })
    .await
}
