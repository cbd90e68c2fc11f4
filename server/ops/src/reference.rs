//! References: rows and operations. Imported only; their bytes never change.

pub mod delete;
pub mod download;
pub mod read;

use readvault_inspect_protocol::SequenceFact;
use readvault_store::{
    catalog::{Commit, RowKey},
    vault::{FileRef, Item},
};
use serde::{Deserialize, Serialize};

use crate::{
    Fault,
    core::{Core, Site, Stored, decode, row_of},
    fault::Result,
    read_set::ReadSetFile,
    tables,
};

/// A reference, as its row holds it. Key: (reference store, id).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Its number: ten digits.
    pub id: String,
    /// Id of its reference store.
    pub reference_store: String,
    /// Its item in the vault.
    pub item: Item,
    /// Where it stands.
    pub status: ReferenceStatus,
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: Option<String>,
    /// MD5 of the uncompressed FASTA, hexadecimal.
    pub md5: String,
    /// Milliseconds since 1970 at which it was made.
    pub created_ms: u64,
    /// Milliseconds since 1970 at which it was last changed.
    pub updated_ms: u64,
    /// Id of the import job that made it.
    pub creation_job: String,
    /// Tags.
    pub tags: Vec<(String, String)>,
    /// The FASTA as it came.
    pub source: ReadSetFile,
    /// Its `.fai`.
    pub index: Option<ReadSetFile>,
    /// Its sequences: a JSON list of names, lengths and MD5s.
    pub sequences: FileRef,
}

/// Life of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReferenceStatus {
    /// Readable.
    Active,
    /// Being deleted: nothing new may refer to it.
    Deleting,
}

impl Reference {
    /// Its ARN.
    #[must_use]
    pub fn arn(&self, site: &Site) -> String {
        let (store, id) = (&self.reference_store, &self.id);
        site.arn("omics", &format!("referenceStore/{store}/reference/{id}"))
    }
}

/// The row of reference `id` of reference store `store`.
#[must_use]
pub fn row(store: &str, id: &str) -> RowKey {
    row_of(tables::REFERENCES, &[store, id])
}

/// The reference `id` of `store`, to decide by.
///
/// # Errors
/// `NotFound`; those of the catalog.
pub async fn load(core: &Core, store: &str, id: &str) -> Result<Stored<Reference>> {
    core.load(&row(store, id))
        .await?
        .ok_or_else(|| Fault::not_found(format!("the reference {id} does not exist")))
}

/// The reference that `arn` names, to decide by.
///
/// # Errors
/// `InvalidArgument` when `arn` is not of a reference of this vault; `NotFound`.
pub async fn load_arn(core: &Core, arn: &str) -> Result<Stored<Reference>> {
    let names = arn
        .strip_prefix(&core.site().arn("omics", "referenceStore/"))
        .and_then(|rest| rest.split_once("/reference/"));
    let Some((store, id)) = names else {
        return Err(Fault::invalid("referenceArn is not the ARN of a reference of this vault"));
    };
    load(core, store, id).await
}

/// Adds to `commit`, which makes something refer to `reference`, that it still is as it was read.
pub(crate) fn hold(commit: &mut Commit, reference: Option<&Stored<Reference>>) {
    if let Some(found) = reference {
        commit.unchanged(row(&found.value.reference_store, &found.value.id), found.version);
    }
}

/// The sequences of `reference`.
///
/// # Errors
/// Those of the vault; `Corrupt` when they can't be read.
pub(crate) async fn sequences(core: &Core, reference: &Reference) -> Result<Vec<SequenceFact>> {
    let bytes = core.vault().read_file(&reference.sequences).await?;
    decode(&bytes)
}
