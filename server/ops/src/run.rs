//! Runs: rows and life cycle. The operations are in files of their own below `run/`.
//!
//! A run's row changes; its parameters and inputs stand in a row that never does, and its record is
//! written once, when it ends. What a live run's processes may ask is served by `source` and `sink`.

pub mod cancel;
pub mod delete;
pub mod finish;
pub mod inputs;
pub mod list;
pub mod live;
pub mod manifest;
pub mod objects;
pub mod parameters;
pub mod provenance;
pub mod sink;
pub mod source;
pub mod start;
#[cfg(test)]
mod tests;
pub mod uri;

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
};

use readvault_exec_protocol::{
    agent::RunResources,
    run::{RunOutcome, Staging},
};
use readvault_store::{catalog::RowKey, vault::FileRef};
use serde::{Deserialize, Serialize};

use crate::{
    Fault,
    authorize::{Authorizer, Permit},
    core::{Core, Site, Stored, decode, row_of},
    dispatch::RunDispatch,
    fault::Result,
    identity::Identity,
    jobs::Jobs,
    tables,
    workflow::{Engine, Workflows, documents},
};

/// The UUID of a run or task, as the run conversation has it.
pub use uuid::Uuid as RunUuid;

/// First number of a run.
pub(crate) const FIRST_ID: u64 = 1_000_000;

/// A run, as its row holds it. Key: its id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its number: seven digits or more, never used again.
    pub id: String,
    /// Its UUID.
    pub uuid: uuid::Uuid,
    /// Its name.
    pub name: Option<String>,
    /// Where it stands.
    pub status: RunStatus,
    /// What happened, for people.
    pub status_message: Option<String>,
    /// Why it failed: a word of the HealthOmics guide.
    pub failure_reason: Option<String>,
    /// The workflow, as it was when the run was started.
    pub workflow: RunWorkflow,
    /// The run that it was copied from.
    pub source_run: Option<String>,
    /// The role that it acts under.
    pub role_arn: String,
    /// Where its outputs were asked to go.
    pub output_uri: String,
    /// Where its outputs go: `{output_uri}/{id}`.
    pub run_output_uri: String,
    /// ARN of who started it.
    pub started_by: String,
    /// What else was asked of it.
    pub options: RunOptions,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Image as tasks named it → digest that it ran by; complete once the run ended.
    pub images: BTreeMap<String, String>,
    /// Its allocation.
    pub resources: RunResources,
    /// Milliseconds since 1970 at which it was made.
    pub created_ms: u64,
    /// When its engine began.
    pub started_ms: Option<u64>,
    /// When it ended.
    pub stopped_ms: Option<u64>,
    /// Tickets made for it: the fence of the newest.
    pub attempt: u64,
    /// SHA-256 of the newest ticket's token, hexadecimal; none before the first and after the end.
    pub token_sha256: Option<String>,
    /// The job that hands it to a node.
    pub job: Option<uuid::Uuid>,
    /// Whether it was asked to end.
    pub cancel_requested: bool,
    /// Digest of the engine's image, once known.
    pub engine_digest: Option<String>,
    /// The engine's name and version, once known.
    pub engine_version: Option<String>,
    /// Most bytes of its tmpfs that were in use, once known.
    pub scratch_peak_bytes: Option<u64>,
}

/// The workflow of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunWorkflow {
    /// Its number.
    pub id: String,
    /// Its UUID.
    pub uuid: uuid::Uuid,
    /// Its name.
    pub name: Option<String>,
    /// What runs it.
    pub engine: Engine,
    /// Path of its main file.
    pub main: String,
    /// SHA-256 of its definition zip, hexadecimal.
    pub sha256: String,
    /// Its definition zip.
    pub definition: FileRef,
}

/// Settings of a run that are kept as they were given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunOptions {
    /// Larger first.
    pub priority: Option<u32>,
    /// `STATIC` or `DYNAMIC`.
    pub storage_type: Option<String>,
    /// GiB.
    pub storage_capacity: Option<u32>,
    /// `OFF`, `FATAL`, `ERROR` or `ALL`.
    pub log_level: Option<String>,
    /// `RETAIN` or `REMOVE`.
    pub retention_mode: Option<String>,
    /// `SHARED` or `LOCAL`.
    pub scratch_storage_mode: Option<String>,
}

/// What never changes of a run. Key: its id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSpecRow {
    /// The parameters as they came, JSON text.
    pub parameters: String,
    /// The parameters with inputs taken out.
    pub engine_parameters: serde_json::Value,
    /// Its inputs, in order of index.
    pub inputs: Vec<RunInput>,
}

/// One input of a run, as it was when the run was started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunInput {
    /// The URI as the caller wrote it.
    pub uri: String,
    /// Base name that tools see.
    pub name: String,
    /// Its bytes.
    pub file: FileRef,
    /// Its ETag.
    pub etag: String,
    /// SHA-256 of its bytes, hexadecimal, where it was known.
    pub sha256: Option<String>,
    /// What must be allowed to read it.
    pub action: String,
    /// On what.
    pub resource: String,
}

/// Life of a run (docs/semantics.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RunStatus {
    /// Waits for a node.
    Pending,
    /// Its name spaces, mounts and inputs are being made.
    Starting,
    /// Its engine runs.
    Running,
    /// Its outputs are exported, everything is being destroyed.
    Stopping,
    /// Ended well; its outputs are visible.
    Completed,
    /// Ended otherwise.
    Failed,
    /// Ended because it was asked to.
    Cancelled,
}

impl RunStatus {
    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Stopping => "STOPPING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// The state that `word` of the API names.
    ///
    /// # Errors
    /// `InvalidArgument` for any other word.
    pub fn parse(word: &str) -> Result<Self> {
        [
            Self::Pending,
            Self::Starting,
            Self::Running,
            Self::Stopping,
            Self::Completed,
            Self::Failed,
            Self::Cancelled,
        ]
        .into_iter()
        .find(|status| status.as_str() == word)
        .ok_or_else(|| Fault::invalid("status is not a state of a run"))
    }

    /// Whether the run has ended.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl Run {
    /// Its ARN.
    #[must_use]
    pub fn arn(&self, site: &Site) -> String {
        arn(site, &self.id)
    }

    /// Notes how it ended: nothing of it may be asked any more.
    pub(crate) fn end(&mut self, outcome: &RunOutcome, now_ms: u64) {
        (self.status, self.failure_reason) = match outcome {
            RunOutcome::Completed => (RunStatus::Completed, None),
            RunOutcome::Failed { reason, message } => {
                self.status_message = Some(message.chars().take(1024).collect());
                (RunStatus::Failed, Some(reason.clone()))
            }
            RunOutcome::Cancelled => (RunStatus::Cancelled, None),
        };
        self.stopped_ms = Some(now_ms);
        self.token_sha256 = None;
        self.job = None;
    }
}

/// The ARN of run `id`.
#[must_use]
pub fn arn(site: &Site, id: &str) -> String {
    site.arn("omics", &format!("run/{id}"))
}

/// The row of run `id`.
#[must_use]
pub fn row(id: &str) -> RowKey {
    row_of(tables::RUNS, &[id])
}

/// The row of what never changes of run `id`.
#[must_use]
pub fn spec_row(id: &str) -> RowKey {
    row_of(tables::RUN_SPECS, &[id])
}

/// The row that run `id` has until it ends.
#[must_use]
pub fn live_row(id: &str) -> RowKey {
    row_of(tables::LIVE_RUNS, &[id])
}

/// The row of the record of run `id`.
#[must_use]
pub fn record_row(id: &str) -> RowKey {
    row_of(tables::RUN_RECORDS, &[id])
}

/// What the operator sets for runs. Plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunSettings {
    /// Allocation of each run.
    pub resources: RunResources,
    /// How inputs reach a run.
    pub staging: Staging,
    /// Unix socket on which this server serves the run conversation.
    pub server_socket: PathBuf,
    /// Bytes of all logs of one run; what comes after is dropped with a marker.
    pub log_bytes_max: u64,
}

/// What runs stand on.
#[derive(Clone, Debug)]
pub struct RunParts {
    /// Rows, ids and the vault.
    pub core: Core,
    /// Roles.
    pub identity: Identity,
    /// Judges what a role may do.
    pub authorizer: Authorizer,
    /// Hands runs to nodes.
    pub jobs: Jobs,
    /// Workflows, and through them the objects of buckets.
    pub workflows: Workflows,
    /// The node's agent.
    pub dispatch: Arc<dyn RunDispatch>,
    /// What the operator sets.
    pub settings: RunSettings,
}

/// The operations on runs, and what is known of live ones. Cheap to clone; all clones share one state.
#[derive(Clone, Debug)]
pub struct Runs {
    pub(crate) parts: Arc<RunParts>,
    pub(crate) live: Arc<parking_lot::Mutex<HashMap<String, Arc<live::LiveRun>>>>,
    pub(crate) locks: Arc<parking_lot::Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>,
}

impl Runs {
    /// The runs over `parts`.
    #[must_use]
    pub fn new(parts: RunParts) -> Self {
        Self { parts: Arc::new(parts), live: Arc::default(), locks: Arc::default() }
    }

    /// Rows, ids and the vault.
    #[must_use]
    pub fn core(&self) -> &Core {
        &self.parts.core
    }

    /// The workflows that they are of.
    #[must_use]
    pub fn workflows(&self) -> &Workflows {
        &self.parts.workflows
    }

    /// The run `id`.
    ///
    /// # Errors
    /// `NotFound`; those of the catalog.
    pub async fn get(&self, _permit: &Permit, id: &str) -> Result<Run> {
        Ok(self.load(id).await?.value)
    }

    /// The parameters and inputs of run `id`.
    ///
    /// # Errors
    /// `NotFound`; those of the catalog.
    pub async fn spec(&self, _permit: &Permit, id: &str) -> Result<RunSpecRow> {
        self.load_spec(id).await
    }

    /// The immutable record of run `id`, once it ended; it stays when the run is deleted.
    ///
    /// # Errors
    /// `NotFound`; those of the vault.
    pub async fn record(&self, _permit: &Permit, id: &str) -> Result<serde_json::Value> {
        let found = self.core().load::<provenance::StoredRecord>(&record_row(id)).await?;
        let found = found.ok_or_else(|| Fault::not_found("the run has no record yet"))?;
        let reader = self.core().vault().open_file(&found.value.file).await?;
        decode(&documents::read_whole(&reader).await?)
    }

    pub(crate) async fn load(&self, id: &str) -> Result<Stored<Run>> {
        let found = self.core().load(&row(id)).await?;
        found.ok_or_else(|| Fault::not_found(format!("there is no run {id:?}")))
    }

    pub(crate) async fn load_spec(&self, id: &str) -> Result<RunSpecRow> {
        let found = self.core().load(&spec_row(id)).await?;
        Ok(found.ok_or_else(|| Fault::not_found(format!("there is no run {id:?}")))?.value)
    }
}
