//! ListMultipartReadSetUploads and ListReadSetUploadParts.

use super::{PartSource, ReadSetUpload, UploadedPart, load, part_prefix};
use crate::{
    authorize::Permit,
    core::{Core, key_of},
    fault::Result,
    listing::{Page, PageOf, page},
    sequence_store::{self, read::within},
    tables,
};

/// A page of the open uploads of `store`, by id.
///
/// # Errors
/// `NotFound` for the store; those of the catalog.
pub async fn uploads(
    core: &Core,
    _permit: &Permit,
    store: &str,
    of: &PageOf,
) -> Result<Page<ReadSetUpload>> {
    sequence_store::load(core, store).await?;
    page(core, (tables::READ_SET_UPLOADS, key_of(&[store])), of, |_| true).await
}

/// Which parts a list gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartFilter {
    /// Of this source.
    pub source: PartSource,
    /// Made after this time, in milliseconds since 1970.
    pub created_after: Option<u64>,
    /// Made before this time.
    pub created_before: Option<u64>,
}

/// A page of the parts of an upload, by number.
///
/// # Errors
/// `NoSuchUpload`; those of the catalog.
pub async fn parts(
    core: &Core,
    _permit: &Permit,
    (store, upload): (&str, &str),
    (filter, of): (&PartFilter, &PageOf),
) -> Result<Page<UploadedPart>> {
    load(core, store, upload).await?;
    let prefix = part_prefix(upload, Some(filter.source));
    page(core, (tables::PARTS, prefix), of, |part: &UploadedPart| {
        within(part.created_ms, filter.created_after, filter.created_before)
    })
    .await
}
