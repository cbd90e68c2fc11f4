//! Sequence stores: rows. The operations are in files of their own below `sequence_store/`.
//!
//! A store's row guards its emptiness: every commit that puts something into the store goes through
//! [`hold`], and a deletion marks the row before it looks.

pub mod create;
pub mod delete;
pub mod read;
pub mod update;

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

/// Tag of a store whose BAM and CRAM read sets must name a reference, when its value is `true`.
pub const REQUIRE_REFERENCE_TAG: &str = "readvault:requireReference";

/// A sequence store, as its row holds it. Key: its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceStore {
    /// Its number: ten digits.
    pub id: String,
    /// Where its read sets are sealed.
    pub store: Store,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Bucket name of its access-point alias.
    pub alias: String,
    /// Where parts of failed uploads go (`s3://…`).
    pub fallback_location: Option<String>,
    /// `MD5up`, `SHA256up` or `SHA512up`.
    pub etag_family: String,
    /// Keys of read set tags that become tags of their objects.
    pub propagated_tags: Vec<String>,
    /// The one reference of its aligned read sets, once the first came.
    pub reference_arn: Option<String>,
    /// Tags.
    pub tags: Vec<(String, String)>,
    /// Milliseconds since 1970 at which it was made.
    pub created_ms: u64,
    /// Milliseconds since 1970 at which it was last changed.
    pub updated_ms: u64,
    /// Whether somebody is finding out if it can be deleted. Whoever puts something into it takes
    /// the mark away in the same commit, so that the deletion sees that it came too late.
    #[serde(default)]
    pub closing: bool,
}

impl SequenceStore {
    /// Its ARN.
    #[must_use]
    pub fn arn(&self, site: &Site) -> String {
        site.arn("omics", &format!("sequenceStore/{}", self.id))
    }

    /// The S3 URI below which its read sets are.
    #[must_use]
    pub fn s3_uri(&self, site: &Site) -> String {
        format!("s3://{}/{}/sequenceStore/{}/", self.alias, site.account, self.id)
    }

    /// The ARN of its access point.
    #[must_use]
    pub fn access_point_arn(&self, site: &Site) -> String {
        site.arn("s3", &format!("accesspoint/{}-{}", site.account, self.id))
    }

    /// Whether its BAM and CRAM read sets must name a reference.
    #[must_use]
    pub fn requires_reference(&self) -> bool {
        self.tags.iter().any(|(key, value)| key == REQUIRE_REFERENCE_TAG && value == "true")
    }
}

/// The row of the sequence store `id`.
#[must_use]
pub fn row(id: &str) -> RowKey {
    row_of(tables::SEQUENCE_STORES, &[id])
}

/// The sequence store `id`, to decide by.
///
/// # Errors
/// `NotFound`; those of the catalog.
pub async fn load(core: &Core, id: &str) -> Result<Stored<SequenceStore>> {
    core.load(&row(id))
        .await?
        .ok_or_else(|| Fault::not_found(format!("the sequence store {id} does not exist")))
}

/// Adds to `commit`, which puts something into `store`, that the store still is as it was read. A
/// first aligned read set with a reference binds the store to `reference`.
pub fn hold(commit: &mut Commit, store: &Stored<SequenceStore>, reference: Option<&str>) {
    let key = row(&store.value.id);
    commit.unchanged(key.clone(), store.version);
    let binds = reference.is_some() && store.value.reference_arn.is_none();
    if binds || store.value.closing {
        let mut changed = store.value.clone();
        changed.closing = false;
        if binds {
            changed.reference_arn = reference.map(ToOwned::to_owned);
        }
        commit.put(key, encode(&changed));
    }
}
