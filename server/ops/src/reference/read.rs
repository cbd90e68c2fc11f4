//! GetReferenceMetadata and ListReferences.

use super::{Reference, load};
use crate::{
    authorize::Permit,
    core::{Core, key_of},
    fault::Result,
    listing::{Page, PageOf, page},
    reference_store,
    sequence_store::read::within,
    tables,
};

/// Which references a list gives. All that is there must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferenceFilter {
    /// Of this name.
    pub name: Option<String>,
    /// Of this MD5.
    pub md5: Option<String>,
    /// Made after this time, in milliseconds since 1970.
    pub created_after: Option<u64>,
    /// Made before this time.
    pub created_before: Option<u64>,
}

/// The reference `id` of `store`.
///
/// # Errors
/// `NotFound`; those of the catalog.
pub async fn get(core: &Core, _permit: &Permit, store: &str, id: &str) -> Result<Reference> {
    Ok(load(core, store, id).await?.value)
}

/// A page of the references of `store` that `filter` takes, by id.
///
/// # Errors
/// `NotFound` for the store; those of the catalog.
pub async fn list(
    core: &Core,
    _permit: &Permit,
    store: &str,
    (filter, of): (&ReferenceFilter, &PageOf),
) -> Result<Page<Reference>> {
    reference_store::load(core, store).await?;
    page(core, (tables::REFERENCES, key_of(&[store])), of, |reference: &Reference| {
        filter.name.as_ref().is_none_or(|name| *name == reference.name)
            && filter.md5.as_ref().is_none_or(|md5| *md5 == reference.md5)
            && within(reference.created_ms, filter.created_after, filter.created_before)
    })
    .await
}
