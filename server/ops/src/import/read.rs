//! GetReadSetImportJob, ListReadSetImportJobs and their twins for references.

use readvault_store::catalog::{Fold, ScanRange};

use super::{ImportItem, ImportJob, ImportKind, SOURCES_MAX, item_prefix, row};
use crate::{
    Fault,
    authorize::Permit,
    core::{Core, Stored, decode, key_of},
    fault::Result,
    listing::{Page, PageOf, page},
    reference_store,
    sequence_store::{self, read::within},
    tables,
};

/// Which jobs a list gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// In this state.
    pub status: Option<String>,
    /// Made after this time, in milliseconds since 1970.
    pub created_after: Option<u64>,
    /// Made before this time.
    pub created_before: Option<u64>,
}

/// The job `id` of `store`, and its sources in order.
///
/// # Errors
/// `NotFound`; those of the catalog.
pub async fn get(
    core: &Core,
    _permit: &Permit,
    (kind, store, id): (ImportKind, &str, &str),
) -> Result<(ImportJob, Vec<ImportItem>)> {
    let job: Option<Stored<ImportJob>> = core.load(&row(kind, store, id)).await?;
    let job = job.ok_or_else(|| Fault::not_found(format!("the import job {id} does not exist")))?;
    let items = items(core, id).await?;
    Ok((job.value, items.into_iter().map(|item| item.value).collect()))
}

/// A page of the jobs of `store` that `filter` takes, by id.
///
/// # Errors
/// `NotFound` for the store; those of the catalog.
pub async fn list(
    core: &Core,
    _permit: &Permit,
    (kind, store): (ImportKind, &str),
    (filter, of): (&JobFilter, &PageOf),
) -> Result<Page<ImportJob>> {
    match kind {
        ImportKind::ReadSets => drop(sequence_store::load(core, store).await?),
        ImportKind::References => drop(reference_store::load(core, store).await?),
    }
    let prefix = key_of(&[kind.as_str(), store]);
    page(core, (tables::IMPORTS, prefix), of, |job: &ImportJob| {
        filter.status.as_ref().is_none_or(|status| status == job.status.as_str())
            && within(job.created_ms, filter.created_after, filter.created_before)
    })
    .await
}

/// The sources of job `id`, in order.
pub(super) async fn items(core: &Core, id: &str) -> Result<Vec<Stored<ImportItem>>> {
    let mut range = ScanRange::prefix(tables::JOB_ITEMS, item_prefix(id));
    let mut items = Vec::new();
    loop {
        let page = core.catalog().scan(&range, &Fold::default(), SOURCES_MAX).await?;
        let next = page.next.clone();
        for row in page.rows() {
            items.push(Stored { value: decode(&row.value)?, version: row.version });
        }
        match next {
            Some(key) => range = range.from(key),
            None => return Ok(items),
        }
    }
}
