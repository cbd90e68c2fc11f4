//! Reference stores: rows and operations. One a vault, as HealthOmics has one an account and
//! region.
//!
//! As with sequence stores, the row guards emptiness: [`hold`] and a mark.

pub mod create;
pub mod delete;
pub mod read;

use readvault_store::{
    catalog::{Commit, RowKey},
    vault::Store,
};
use serde::{Deserialize, Serialize};

use crate::{
    Fault,
    core::{Core, Site, Stored, encode, row_of},
    fault::Result,
    tables,
};

/// A reference store, as its row holds it. Key: its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceStore {
    /// Its number: ten digits.
    pub id: String,
    /// Where its references are sealed.
    pub store: Store,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Tags.
    pub tags: Vec<(String, String)>,
    /// Milliseconds since 1970 at which it was made.
    pub created_ms: u64,
    /// Whether somebody is finding out if it can be deleted.
    #[serde(default)]
    pub closing: bool,
}

impl ReferenceStore {
    /// Its ARN.
    #[must_use]
    pub fn arn(&self, site: &Site) -> String {
        site.arn("omics", &format!("referenceStore/{}", self.id))
    }
}

/// The row of the reference store `id`.
#[must_use]
pub fn row(id: &str) -> RowKey {
    row_of(tables::REFERENCE_STORES, &[id])
}

/// The row that says which is the one reference store of `site`.
fn only_row(site: &Site) -> RowKey {
    row_of(tables::TOKENS, &["reference-store-of", &site.account])
}

/// The reference store `id`, to decide by.
///
/// # Errors
/// `NotFound`; those of the catalog.
pub async fn load(core: &Core, id: &str) -> Result<Stored<ReferenceStore>> {
    core.load(&row(id))
        .await?
        .ok_or_else(|| Fault::not_found(format!("the reference store {id} does not exist")))
}

/// Adds to `commit`, which puts something into `store`, that the store still is as it was read.
pub(crate) fn hold(commit: &mut Commit, store: &Stored<ReferenceStore>) {
    let key = row(&store.value.id);
    commit.unchanged(key.clone(), store.version);
    if store.value.closing {
        commit.put(key, encode(&ReferenceStore { closing: false, ..store.value.clone() }));
    }
}
