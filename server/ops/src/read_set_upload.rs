//! Direct uploads of read sets: rows. The operations are in files of their own below
//! `read_set_upload/`.
//!
//! Each part is an item of its own in the upload's shred slot, so that a part that is replaced ends
//! alone, and all end with the read set that they became.

pub mod abort;
pub mod complete;
pub mod create;
pub mod discard;
pub mod part;
pub mod read;
#[cfg(test)]
mod tests;

use readvault_store::{
    catalog::RowKey,
    vault::{FileRef, Item},
};
use serde::{Deserialize, Serialize};

use crate::{
    Fault, FaultKind,
    core::{Core, Stored, key_of, row_of},
    fault::Result,
    read_set::details::ReadSetDetails,
    tables,
};

/// Bytes of one part at most.
pub const PART_BYTES_MAX: u64 = 104_857_600;
/// Number of the last part of a source.
pub const PART_NUMBER_MAX: u32 = 10_000;

/// An upload that is neither complete nor aborted. Key: (sequence store, id).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadSetUpload {
    /// Its number: ten digits.
    pub id: String,
    /// Id of its sequence store.
    pub sequence_store: String,
    /// Its item in the vault.
    pub item: Item,
    /// What its read set will be.
    pub details: ReadSetDetails,
    /// Milliseconds since 1970 at which it was made.
    pub created_ms: u64,
}

/// Which source of a read set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PartSource {
    /// The first, or only one.
    #[serde(rename = "SOURCE1")]
    Source1,
    /// The second of a FASTQ pair.
    #[serde(rename = "SOURCE2")]
    Source2,
}

impl PartSource {
    /// Its name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source1 => "SOURCE1",
            Self::Source2 => "SOURCE2",
        }
    }

    /// The source of that name.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn parse(name: &str) -> Result<Self> {
        [Self::Source1, Self::Source2]
            .into_iter()
            .find(|source| source.as_str() == name)
            .ok_or_else(|| Fault::invalid("partSource must be SOURCE1 or SOURCE2"))
    }
}

/// A part as its row holds it. Key: (upload, source, number).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UploadedPart {
    /// Which source.
    pub source: PartSource,
    /// Its number, from 1.
    pub number: u32,
    /// Its item in the vault.
    pub item: Item,
    /// Its bytes.
    pub file: FileRef,
    /// Base64 of the SHA-256 of its bytes.
    pub checksum: String,
    /// Milliseconds since 1970 at which this number first came.
    pub created_ms: u64,
    /// Milliseconds since 1970 at which it last came.
    pub updated_ms: u64,
}

/// The row of upload `id` of sequence store `store`.
#[must_use]
pub fn row(store: &str, id: &str) -> RowKey {
    row_of(tables::READ_SET_UPLOADS, &[store, id])
}

/// The row of part `number` of `source` of `upload`.
#[must_use]
pub fn part_row(upload: &str, source: PartSource, number: u32) -> RowKey {
    row_of(tables::PARTS, &["read-set", upload, source.as_str(), &format!("{number:05}")])
}

/// What the rows of all parts of `upload` begin with; with `source`, of that source.
pub(crate) fn part_prefix(upload: &str, source: Option<PartSource>) -> Vec<u8> {
    match source {
        None => key_of(&["read-set", upload]),
        Some(source) => key_of(&["read-set", upload, source.as_str()]),
    }
}

/// The upload `id` of `store`, to decide by.
///
/// # Errors
/// `NoSuchUpload`; those of the catalog.
pub async fn load(core: &Core, store: &str, id: &str) -> Result<Stored<ReadSetUpload>> {
    core.load(&row(store, id)).await?.ok_or_else(|| {
        Fault::new(
            FaultKind::NoSuchUpload,
            format!("the upload {id} does not exist: it is complete, aborted or never was"),
        )
    })
}
