//! Import jobs of sequence and reference stores: rows. Operations and the job are below `import/`.
//!
//! A source goes through three commits: its bytes are stored and named by its item's row; the
//! inspector judges them; the read set or reference appears. A stop between any two goes on there.

pub mod finish;
pub mod job;
pub mod read;
pub mod source;
pub mod start;

use readvault_store::{
    catalog::RowKey,
    vault::{FileRef, Item},
};
use serde::{Deserialize, Serialize};

pub use self::{job::ImportSources, source::S3Uri};
use crate::{
    core::{key_of, row_of},
    read_set::details::ReadSetDetails,
    tables,
};

/// Sources of one job at most.
pub const SOURCES_MAX: usize = 100;

/// What a job imports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportKind {
    /// Read sets into a sequence store.
    ReadSets,
    /// References into a reference store.
    References,
}

impl ImportKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::ReadSets => "read-sets",
            Self::References => "references",
        }
    }
}

/// State of a job, as HealthOmics names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobStatus {
    /// Waiting.
    Submitted,
    /// Running.
    InProgress,
    /// Every source was imported.
    Completed,
    /// Some were, some were not.
    CompletedWithFailures,
    /// None was.
    Failed,
}

impl JobStatus {
    /// The state of a job of which `failed` of `all` items failed, and why.
    pub(crate) fn outcome(failed: usize, all: usize) -> (Self, Option<String>) {
        match failed {
            0 => (Self::Completed, None),
            none if none == all => (Self::Failed, Some("every item of the job failed".into())),
            some => {
                let message = format!("{some} of {all} items failed");
                (Self::CompletedWithFailures, Some(message))
            }
        }
    }

    /// Its name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submitted => "SUBMITTED",
            Self::InProgress => "IN_PROGRESS",
            Self::Completed => "COMPLETED",
            Self::CompletedWithFailures => "COMPLETED_WITH_FAILURES",
            Self::Failed => "FAILED",
        }
    }
}

/// State of one source of a job, as HealthOmics names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ItemStatus {
    /// Waiting.
    NotStarted,
    /// Running.
    InProgress,
    /// Imported.
    Finished,
    /// Not imported; the message says why.
    Failed,
}

impl ItemStatus {
    /// Its name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "NOT_STARTED",
            Self::InProgress => "IN_PROGRESS",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
        }
    }

    fn ended(self) -> bool {
        matches!(self, Self::Finished | Self::Failed)
    }
}

/// An import job, as its row holds it. Key: (kind, store, id).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportJob {
    /// Its number: ten digits.
    pub id: String,
    /// What it imports.
    pub kind: ImportKind,
    /// Id of the store that it imports into.
    pub store: String,
    /// ARN of the role under which it reads.
    pub role_arn: String,
    /// Where it stands.
    pub status: JobStatus,
    /// Why, for people.
    pub status_message: Option<String>,
    /// Milliseconds since 1970 at which it was made.
    pub created_ms: u64,
    /// Milliseconds since 1970 at which it ended.
    pub completed_ms: Option<u64>,
    /// How many sources it has.
    pub sources: usize,
}

/// One source of a job, as its row holds it. Key: (job, number).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportItem {
    /// The first source.
    pub source1: S3Uri,
    /// The second of a FASTQ pair.
    pub source2: Option<S3Uri>,
    /// What it will be.
    pub details: ReadSetDetails,
    /// Where it stands.
    pub status: ItemStatus,
    /// Why, for people.
    pub status_message: Option<String>,
    /// Id of the read set or reference that it became.
    pub made: Option<String>,
    /// Its bytes, between the first and the last commit.
    pub stored: Option<StoredItem>,
}

/// Bytes that are stored and not judged yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredItem {
    /// The item that they belong to.
    pub item: Item,
    /// One file a source.
    pub files: Vec<FileRef>,
}

/// The row of job `id` of the store `store`.
fn row(kind: ImportKind, store: &str, id: &str) -> RowKey {
    row_of(tables::IMPORTS, &[kind.as_str(), store, id])
}

/// The row of source `number` of job `id`.
fn item_row(id: &str, number: usize) -> RowKey {
    row_of(tables::JOB_ITEMS, &["import", id, &format!("{number:04}")])
}

fn item_prefix(id: &str) -> Vec<u8> {
    key_of(&["import", id])
}
