//! GetReadSetMetadata.

use super::{ReadSet, load};
use crate::{authorize::Permit, core::Core, fault::Result};

/// The read set `id` of `store`.
///
/// # Errors
/// `NotFound`; those of the catalog.
pub async fn get(core: &Core, _permit: &Permit, store: &str, id: &str) -> Result<ReadSet> {
    Ok(load(core, store, id).await?.value)
}
