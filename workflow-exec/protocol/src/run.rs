//! The conversation between the processes of a run and the server.
//!
//! The supervisor's first frame is [`RunRequest::Hello`]; the mount process opens a connection of its own
//! with the same token. Every request has one reply frame; bulk bytes travel as payloads.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::agent::{Language, RunResources};

/// Most bytes of one [`RunRequest::Read`].
pub const READ_BYTES_MAX: u32 = 1 << 20;

/// What a process of a run asks of the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum RunRequest {
    /// Opens the conversation; the first frame.
    Hello {
        /// [`crate::PROTOCOL_VERSION`].
        version: u32,
        /// The ticket's token.
        token: String,
    },
    /// Asks for the run's specification; its workflow definition (a zip) comes as [`RunRequest::Definition`].
    Spec,
    /// Asks for `length` bytes of the definition zip from `offset`.
    Definition {
        /// First byte.
        offset: u64,
        /// At most [`READ_BYTES_MAX`].
        length: u32,
    },
    /// Asks for `length` bytes of input `input` from `offset`; fewer only at the end of the file.
    Read {
        /// Index into [`RunSpec::inputs`].
        input: u32,
        /// First byte.
        offset: u64,
        /// At most [`READ_BYTES_MAX`].
        length: u32,
    },
    /// Reports a state of a task; the first report makes the task's record.
    Task(Box<TaskReport>),
    /// Reports that a task was given, or opened, an input.
    Access {
        /// The task.
        task: Uuid,
        /// Index into [`RunSpec::inputs`].
        input: u32,
        /// How it was observed.
        access: Access,
    },
    /// Appends the payload (whole lines of text) to a log.
    Log {
        /// Which log.
        log: LogName,
    },
    /// Reports the run's own state: `STARTING` is over once inputs are staged.
    State {
        /// The state.
        state: RunState,
    },
    /// Begins an output; `path` is relative to the run's output prefix (`out/…` or `logs/…`).
    OutputBegin {
        /// Where it goes.
        path: String,
    },
    /// Appends the payload to the output that was begun.
    OutputData,
    /// Ends the output that was begun; the reply bears its digest.
    OutputEnd,
    /// Reports the end; the server commits all outputs at once when it is a success, then answers.
    Finish(Box<RunReport>),
}

/// What the server answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum RunReply {
    /// Done; also the answer to `Hello`.
    Done,
    /// The specification.
    Spec(Box<RunSpec>),
    /// The bytes asked for are the payload.
    Data,
    /// The output is staged.
    Output {
        /// SHA-256 of its bytes, hexadecimal.
        sha256: String,
        /// Its length.
        length: u64,
    },
    /// Refused; the connection can be used on unless it was the `Hello`.
    Refused {
        /// The reason, in words for people.
        reason: String,
        /// Whether the run is lost (cancelled, superseded, revoked) and must end.
        fatal: bool,
    },
}

/// All that a supervisor needs to execute a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunSpec {
    /// The run.
    pub run: Uuid,
    /// Its number, for `AWS_WORKFLOW_RUN_ID`.
    pub run_id: String,
    /// Its ARN, for `AWS_WORKFLOW_RUN`.
    pub run_arn: String,
    /// For `AWS_REGION`.
    pub region: String,
    /// The workflow's language.
    pub language: Language,
    /// Path of the main file inside the definition zip.
    pub main: String,
    /// Bytes of the definition zip.
    pub definition_bytes: u64,
    /// SHA-256 of the definition zip, hexadecimal.
    pub definition_sha256: String,
    /// The engine's input document; a URI that names an input is replaced by
    /// `{"$input": index}` wherever it stood.
    pub parameters: serde_json::Value,
    /// The inputs that this run may read.
    pub inputs: Vec<InputSpec>,
    /// Allocation.
    pub resources: RunResources,
    /// Image references that this run may use, resolved to one digest each; others are resolved by the
    /// node's own images at first use and reported.
    pub images: Vec<(String, String)>,
}

/// One input of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputSpec {
    /// The URI as the caller wrote it.
    pub uri: String,
    /// Base name that tools see.
    pub name: String,
    /// Length in bytes.
    pub length: u64,
    /// Digest of its content, which names its directory (`/mnt/workflow/in/DIGEST/NAME`), hexadecimal.
    pub digest: String,
    /// How it reaches the run.
    pub staging: Staging,
}

/// How an input reaches a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Staging {
    /// In the tmpfs up to a quarter of the run's memory, by the mount above.
    Auto,
    /// Streamed into the run's tmpfs.
    Tmpfs,
    /// A file of the run's read-only mount.
    Mount,
}

/// A log of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case")]
pub enum LogName {
    /// The run's own events.
    Run,
    /// The engine's output.
    Engine,
    /// A task's output.
    Task {
        /// The task.
        task: Uuid,
    },
}

/// A state that a run reports of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Name spaces, mounts and inputs are being made.
    Starting,
    /// The engine runs.
    Running,
    /// Outputs are exported, everything is being destroyed.
    Stopping,
}

/// A state of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Waits for its inputs or for room.
    Pending,
    /// Its container is being made.
    Starting,
    /// It runs.
    Running,
    /// Ended with exit code 0 and no limit hit.
    Completed,
    /// Ended otherwise.
    Failed,
    /// Ended because the run was cancelled.
    Cancelled,
}

/// How an access to an input was observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// It was bound into the task's container.
    Bound,
    /// A process of the task opened it through the mount.
    Opened,
}

/// What is known of a task. *Observed* unless marked *claimed* (said by the engine).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    /// The task.
    pub task: Uuid,
    /// Its state.
    pub state: TaskState,
    /// Its name (claimed).
    pub name: String,
    /// Image reference as asked for.
    pub image: String,
    /// Digest of the image's manifest.
    pub image_digest: String,
    /// The command as asked for (claimed).
    pub argv: Vec<String>,
    /// Cores that it may use.
    pub cpus: f64,
    /// Bytes of memory that it may use.
    pub memory_bytes: u64,
    /// Exit code, once it ended.
    pub exit_code: Option<i32>,
    /// Whether the kernel killed a process of it for memory.
    pub out_of_memory: bool,
    /// Most bytes of memory that it used, once it ended.
    pub memory_peak_bytes: Option<u64>,
    /// Seconds of CPU that it used, once it ended.
    pub cpu_seconds: Option<f64>,
    /// Why it failed, in words for people.
    pub message: Option<String>,
    /// Unix milliseconds at which its container was started.
    pub started_ms: Option<u64>,
    /// Unix milliseconds at which it ended.
    pub stopped_ms: Option<u64>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// Whether it succeeded, and why not.
    pub outcome: RunOutcome,
    /// The engine's output document (`logs/outputs.json`), with `{"$output": "path"}` for files.
    pub outputs: Option<serde_json::Value>,
    /// Digest of the engine's image.
    pub engine_digest: String,
    /// The engine's own name and version.
    pub engine_version: String,
    /// Most bytes of the run's tmpfs that were in use.
    pub scratch_peak_bytes: u64,
}

/// The outcome of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum RunOutcome {
    /// The engine succeeded and every declared output was staged.
    Completed,
    /// It failed.
    Failed {
        /// One of the failure reasons of the HealthOmics user guide, such as `WORKFLOW_RUN_FAILED`.
        reason: String,
        /// What happened, in words for people.
        message: String,
    },
    /// It was cancelled.
    Cancelled,
}
