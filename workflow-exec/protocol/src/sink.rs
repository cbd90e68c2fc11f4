//! Where a run's records, logs and outputs go.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{
    run::{Access, LogName, RunReport, RunState, TaskReport},
    source::SourceError,
};

/// A staged output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedOutput {
    /// SHA-256 of its bytes, hexadecimal.
    pub sha256: String,
    /// Its length.
    pub length: u64,
}

/// Takes what one run says of itself.
#[async_trait]
pub trait OutputSink: Send + Sync {
    /// Notes a state of the run.
    async fn state(&self, token: &str, state: RunState) -> Result<(), SourceError>;

    /// Notes a state of a task; the first note makes its record.
    async fn task(&self, token: &str, report: TaskReport) -> Result<(), SourceError>;

    /// Notes that a task was given, or opened, an input.
    async fn access(
        &self,
        token: &str,
        task: uuid::Uuid,
        input: u32,
        access: Access,
    ) -> Result<(), SourceError>;

    /// Appends whole lines to a log. Above the run's log limit they are dropped with a marker.
    async fn log(&self, token: &str, log: LogName, lines: Bytes) -> Result<(), SourceError>;

    /// Stages one output; invisible before [`OutputSink::finish`] succeeds.
    async fn output(
        &self,
        token: &str,
        path: String,
        body: mpsc::Receiver<Bytes>,
    ) -> Result<StagedOutput, SourceError>;

    /// Ends the run: with `Completed`, all its outputs become visible by one commit. Idempotent.
    async fn finish(&self, token: &str, report: RunReport) -> Result<(), SourceError>;
}
