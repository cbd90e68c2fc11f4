//! GetReferenceStore and ListReferenceStores.

use super::{ReferenceStore, load};
use crate::{
    authorize::Permit,
    core::Core,
    fault::Result,
    listing::{Page, PageOf, page},
    sequence_store::read::{StoreFilter, within},
    tables,
};

/// The reference store `id`.
///
/// # Errors
/// `NotFound`; those of the catalog.
pub async fn get(core: &Core, _permit: &Permit, id: &str) -> Result<ReferenceStore> {
    Ok(load(core, id).await?.value)
}

/// A page of the reference stores that `filter` (name and time of creation) takes, by id.
///
/// # Errors
/// Those of the catalog.
pub async fn list(
    core: &Core,
    _permit: &Permit,
    filter: &StoreFilter,
    of: &PageOf,
) -> Result<Page<ReferenceStore>> {
    page(core, (tables::REFERENCE_STORES, Vec::new()), of, |store: &ReferenceStore| {
        filter.name.as_ref().is_none_or(|name| *name == store.name)
            && within(store.created_ms, filter.created_after, filter.created_before)
    })
    .await
}
