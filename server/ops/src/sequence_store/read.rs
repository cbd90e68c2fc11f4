//! GetSequenceStore and ListSequenceStores.

use super::{SequenceStore, load};
use crate::{
    authorize::Permit,
    core::Core,
    fault::Result,
    listing::{Page, PageOf, page},
    tables,
};

/// Which sequence stores a list gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreFilter {
    /// Of this name.
    pub name: Option<String>,
    /// Made after this time, in milliseconds since 1970.
    pub created_after: Option<u64>,
    /// Made before this time.
    pub created_before: Option<u64>,
    /// Changed after this time.
    pub updated_after: Option<u64>,
    /// Changed before this time.
    pub updated_before: Option<u64>,
    /// In this state: every store is `ACTIVE`.
    pub status: Option<String>,
}

/// The sequence store `id`.
///
/// # Errors
/// `NotFound`; those of the catalog.
pub async fn get(core: &Core, _permit: &Permit, id: &str) -> Result<SequenceStore> {
    Ok(load(core, id).await?.value)
}

/// A page of the sequence stores that `filter` takes, by id.
///
/// # Errors
/// Those of the catalog.
pub async fn list(
    core: &Core,
    _permit: &Permit,
    filter: &StoreFilter,
    of: &PageOf,
) -> Result<Page<SequenceStore>> {
    page(core, (tables::SEQUENCE_STORES, Vec::new()), of, |store: &SequenceStore| {
        filter.name.as_ref().is_none_or(|name| *name == store.name)
            && filter.status.as_ref().is_none_or(|status| status == "ACTIVE")
            && within(store.created_ms, filter.created_after, filter.created_before)
            && within(store.updated_ms, filter.updated_after, filter.updated_before)
    })
    .await
}

/// Whether `at` lies strictly between two times that may be absent.
#[must_use]
pub(crate) fn within(at: u64, after: Option<u64>, before: Option<u64>) -> bool {
    after.is_none_or(|after| at > after) && before.is_none_or(|before| at < before)
}
