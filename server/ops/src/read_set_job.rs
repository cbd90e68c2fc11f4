//! Jobs over read sets that exist: export to a bucket, and activation. The work is in `export`.

pub mod export;
pub mod read;
pub mod start;

use readvault_store::catalog::RowKey;
use serde::{Deserialize, Serialize};

pub use self::export::ExportReadSets;
use crate::{
    core::row_of,
    import::{ItemStatus, JobStatus},
    tables,
};

/// What a job does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum ReadSetJobKind {
    /// Copies the files of read sets to a bucket.
    Export {
        /// `s3://bucket` or `s3://bucket/prefix/`.
        destination: String,
        /// ARN of the role under which it writes.
        role_arn: String,
    },
    /// Makes archived read sets readable.
    Activation,
}

impl ReadSetJobKind {
    fn name(&self) -> &'static str {
        match self {
            Self::Export { .. } => EXPORT,
            Self::Activation => ACTIVATION,
        }
    }
}

/// The kind of jobs that [`read::list`] and [`read::get`] ask for: exports.
pub const EXPORT: &str = "export";
/// The kind of jobs that [`read::list`] and [`read::get`] ask for: activations.
pub const ACTIVATION: &str = "activation";

/// A job over read sets, as its row holds it. Key: (kind, store, id).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadSetJob {
    /// Its number: ten digits.
    pub id: String,
    /// What it does.
    #[serde(flatten)]
    pub kind: ReadSetJobKind,
    /// Id of the sequence store.
    pub store: String,
    /// Where it stands.
    pub status: JobStatus,
    /// Why, for people.
    pub status_message: Option<String>,
    /// Milliseconds since 1970 at which it was made.
    pub created_ms: u64,
    /// Milliseconds since 1970 at which it ended.
    pub completed_ms: Option<u64>,
    /// The read sets, in order.
    pub items: Vec<ReadSetJobItem>,
}

/// One read set of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadSetJobItem {
    /// Id of the read set.
    pub read_set: String,
    /// Where it stands.
    pub status: ItemStatus,
    /// Why, for people.
    pub status_message: Option<String>,
}

impl ReadSetJob {
    /// Ends the job as its items ended.
    fn end(&mut self, now_ms: u64) {
        let failed = self.items.iter().filter(|item| item.status == ItemStatus::Failed).count();
        self.completed_ms = Some(now_ms);
        (self.status, self.status_message) = JobStatus::outcome(failed, self.items.len());
    }
}

/// The row of job `id` of `kind` ([`EXPORT`] or [`ACTIVATION`]) of `store`.
pub(crate) fn row(kind: &str, store: &str, id: &str) -> RowKey {
    row_of(tables::IMPORTS, &[kind, store, id])
}
