//! The conversation between the server and a node's agent: one request, one reply, many a connection.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What the server asks of an agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum AgentRequest {
    /// Says which version the server speaks; the first frame of a connection.
    Hello {
        /// [`crate::PROTOCOL_VERSION`].
        version: u32,
    },
    /// Starts a run. Accepted means a supervisor exists and will report over the run conversation.
    Start(Box<RunTicket>),
    /// Ends a run: its processes get SIGTERM, then SIGKILL after the grace. Idempotent.
    Cancel {
        /// The run.
        run: Uuid,
        /// Milliseconds between the two signals.
        grace_ms: u64,
    },
    /// Lists the runs of which anything is left on this node.
    List,
    /// Names what this node can do and what it lacks.
    Capabilities,
    /// Lists the images and engines of this node.
    Images,
    /// Imports the OCI layout at `layout` (a directory or tar that the agent can read) as `name`
    /// (`NAME:TAG`), unpacked in a keyless sandbox, verified by digest.
    ImportImage {
        /// Where the layout stands.
        layout: PathBuf,
        /// `NAME:TAG`.
        name: String,
    },
    /// Imports an engine's rootfs, as an image, for workflows of `language`.
    AddEngine {
        /// The language that it runs.
        language: Language,
        /// Where the layout stands.
        layout: PathBuf,
    },
}

/// What an agent answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum AgentReply {
    /// The agent's version.
    Hello {
        /// [`crate::PROTOCOL_VERSION`].
        version: u32,
    },
    /// Done as asked.
    Done,
    /// Not done, for this reason; nothing was changed.
    Refused {
        /// The reason, in words for people.
        reason: String,
    },
    /// The runs of which anything is left.
    Runs {
        /// Their ids.
        runs: Vec<Uuid>,
    },
    /// What the node can do.
    Capabilities(Capabilities),
    /// The images and engines of the node.
    Images {
        /// Images that tasks may name.
        images: Vec<ImageRecord>,
        /// Engines, by language.
        engines: Vec<(Language, ImageRecord)>,
    },
    /// The image as it was imported.
    Imported(ImageRecord),
}

/// A workflow language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// WDL, run by miniwdl.
    Wdl,
    /// CWL, run by cwltool.
    Cwl,
    /// Nextflow.
    Nextflow,
}

/// What starts a run on a node. Holds no specification: the supervisor pulls that with the token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunTicket {
    /// The run.
    pub run: Uuid,
    /// Fence: an agent refuses a ticket older than one that it has seen for this run.
    pub attempt: u64,
    /// Opens this run's conversation, once, from this node.
    pub token: String,
    /// Unix socket on which the server serves the run conversation.
    pub server: PathBuf,
    /// What the run may use.
    pub resources: RunResources,
}

/// The allocation of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunResources {
    /// Cores of all tasks together.
    pub cpus: u32,
    /// Bytes of memory of all tasks together.
    pub memory_bytes: u64,
    /// Bytes of the run's tmpfs.
    pub scratch_bytes: u64,
    /// Seconds after which the run is ended with `RUN_TIMED_OUT`.
    pub seconds_max: u64,
}

/// What a node offers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Cores.
    pub cpus: u32,
    /// Bytes of memory that runs may use in all.
    pub memory_bytes: u64,
    /// `v1`, `v2` or `hybrid`.
    pub cgroups: String,
    /// What is missing for runs, each with what to do about it; empty when runs can start.
    pub missing: Vec<String>,
}

/// One image of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// `NAME:TAG` as imported; a tag names the newest import.
    pub name: String,
    /// Digest of the manifest, `sha256:…`.
    pub digest: String,
    /// Digest of the configuration.
    pub config_digest: String,
    /// Bytes of the unpacked root file system.
    pub bytes: u64,
}
