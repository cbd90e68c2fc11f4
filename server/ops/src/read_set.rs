//! Read sets: rows and life cycle. The operations are in files of their own below `read_set/`.

pub mod delete;
pub mod details;
pub mod download;
pub mod index;
pub mod read;

use readvault_store::{
    catalog::RowKey,
    vault::{FileRef, Item, VaultCommit},
};
use serde::{Deserialize, Serialize};

use crate::{
    Fault,
    core::{Core, Site, Stored, row_of},
    fault::Result,
    kept::{self, Owner},
    tables,
};

/// Bytes of one part of a download.
pub const PART_BYTES: u64 = 104_857_600;

/// A read set, as its row holds it. Key: (sequence store, id). Its files never change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadSet {
    /// Its number: ten digits.
    pub id: String,
    /// Id of its sequence store.
    pub sequence_store: String,
    /// Its item in the vault.
    pub item: Item,
    /// Where it stands.
    pub status: ReadSetStatus,
    /// Why, for people.
    pub status_message: Option<String>,
    /// `FASTQ`, `BAM`, `CRAM` or `UBAM`.
    pub file_type: String,
    /// Its name.
    pub name: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// The subject that it comes from.
    pub subject_id: String,
    /// The sample that it comes from.
    pub sample_id: String,
    /// What it was made from.
    pub generated_from: Option<String>,
    /// ARN of its reference.
    pub reference_arn: Option<String>,
    /// `IMPORT` or `UPLOAD`.
    pub creation_type: String,
    /// Id of the import job or upload that made it.
    pub creation_job: Option<String>,
    /// Milliseconds since 1970 at which it was made.
    pub created_ms: u64,
    /// Tags.
    pub tags: Vec<(String, String)>,
    /// Its files: source1, source2, index.
    pub files: ReadSetFiles,
    /// What the inspector found, once it passed.
    pub facts: Option<ReadSetFacts>,
}

/// Life of a read set, as HealthOmics names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReadSetStatus {
    /// Stored and being inspected.
    ProcessingUpload,
    /// Refused by the inspector; the message says why.
    UploadFailed,
    /// Validated and readable.
    Active,
    /// Stored smaller; must be activated before it is read.
    Archived,
    /// On its way from archived to active.
    Activating,
    /// Being deleted.
    Deleting,
    /// Deleted.
    Deleted,
}

/// The files of a read set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadSetFiles {
    /// The first source.
    pub source1: ReadSetFile,
    /// The second source of a pair.
    pub source2: Option<ReadSetFile>,
    /// The index made at ingest.
    pub index: Option<ReadSetFile>,
}

/// One file of a read set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadSetFile {
    /// Base name in S3 keys.
    pub name: String,
    /// The stored bytes, exactly as they came.
    pub file: FileRef,
    /// S3 ETag without quotes: `<32 hex>-N`, constant for life.
    pub etag: String,
    /// SHA-256 of the bytes, hexadecimal, once inspected.
    pub sha256: Option<String>,
    /// MD5 of the bytes, hexadecimal, once inspected.
    pub md5: Option<String>,
    /// CRC64NVME of the bytes, base64 (big-endian), once inspected.
    pub crc64nvme: Option<String>,
}

/// What the inspector found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadSetFacts {
    /// Reads of all sources.
    pub read_count: u64,
    /// Bases of all sources.
    pub base_count: u64,
    /// `ALIGNED` or `UNALIGNED`; none for FASTQ.
    pub alignment: Option<String>,
    /// Semantic ETag: algorithm such as `FASTQ_MD5up`.
    pub etag_algorithm: Option<String>,
    /// Semantic ETag of the first source.
    pub etag_source1: Option<String>,
    /// Semantic ETag of the second source.
    pub etag_source2: Option<String>,
    /// Everything else that was found, as the inspector said it (header facts, sort order, notes).
    pub summary: serde_json::Value,
}

/// The row of read set `id` of sequence store `store`.
#[must_use]
pub fn row(store: &str, id: &str) -> RowKey {
    row_of(tables::READ_SETS, &[store, id])
}

/// Adds to `commit`, which writes the row of `read_set`, the copy by which a rebuild knows it again.
pub(crate) async fn keep(core: &Core, commit: &mut VaultCommit, read_set: &ReadSet) -> Result<()> {
    let rows = [row(&read_set.sequence_store, &read_set.id)];
    let taken = [("read_set", read_set.id.as_str())];
    kept::keep(core, commit, Owner::item(&read_set.item), (&rows, &taken)).await
}

/// The read set `id` of `store`, to decide by.
///
/// # Errors
/// `NotFound`; those of the catalog.
pub async fn load(core: &Core, store: &str, id: &str) -> Result<Stored<ReadSet>> {
    core.load(&row(store, id))
        .await?
        .ok_or_else(|| Fault::not_found(format!("the read set {id} does not exist")))
}

impl ReadSetStatus {
    /// Its name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ProcessingUpload => "PROCESSING_UPLOAD",
            Self::UploadFailed => "UPLOAD_FAILED",
            Self::Active => "ACTIVE",
            Self::Archived => "ARCHIVED",
            Self::Activating => "ACTIVATING",
            Self::Deleting => "DELETING",
            Self::Deleted => "DELETED",
        }
    }
}

impl ReadSetFiles {
    /// Every file there is, in the order source1, source2, index.
    pub fn all(&self) -> impl Iterator<Item = &ReadSetFile> {
        std::iter::once(&self.source1).chain(self.source2.as_ref()).chain(self.index.as_ref())
    }
}

impl ReadSet {
    /// Its ARN.
    #[must_use]
    pub fn arn(&self, site: &Site) -> String {
        site.arn("omics", &format!("sequenceStore/{}/readSet/{}", self.sequence_store, self.id))
    }

    /// The S3 key of its file `name` in the alias bucket (the account stands first).
    #[must_use]
    pub fn object_key(&self, account: &str, name: &str) -> String {
        format!("{account}/sequenceStore/{}/readSet/{}/{name}", self.sequence_store, self.id)
    }
}
