//! What the docker-CLI shim asks of a run's supervisor, over [`SOCKET`] inside the engine's sandbox.
//!
//! Framed by `readvault_exec_protocol::frame`: the header is a [`ShimRequest`] or [`ShimReply`], bulk
//! bytes are the payload. One request a connection. Everything but [`ShimRequest::Run`] gets one reply
//! and the connection ends. There is deliberately no field for privilege, capabilities, devices or host
//! name spaces: the engine runs user code and may speak to this socket itself, so the supervisor decides
//! from what it sees and the shim only asks.

use serde::{Deserialize, Serialize};

/// Where the engine finds the supervisor's socket.
pub const SOCKET: &str = "/run/rv/supervisor.sock";

/// Version of this conversation; part of the first frame.
pub const SHIM_PROTOCOL_VERSION: u32 = 1;

/// Exit code for "the supervisor said no or is gone", as docker's own for a daemon error.
pub const EXIT_REFUSED: i32 = 125;

/// Most arguments, variables or binds of one container.
pub const LIST_MAX: usize = 65_536;

/// What the shim asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum ShimRequest {
    /// Runs a container to its end. The shim may then send [`ShimRequest::Stdin`],
    /// [`ShimRequest::StdinEnd`], [`ShimRequest::Signal`] and [`ShimRequest::Stop`] with an empty name on the
    /// same connection; the supervisor sends [`ShimReply::Started`], output and [`ShimReply::Exited`].
    /// The end of the connection is SIGKILL for the whole container.
    Run(Box<RunContainer>),
    /// The payload is standard input for the container of this connection.
    Stdin,
    /// Standard input of the container of this connection is over.
    StdinEnd,
    /// Sends a signal to the container of this connection.
    Signal {
        /// The signal's number.
        signal: i32,
    },
    /// SIGTERM, then SIGKILL after ten seconds; repeats are ignored.
    Stop {
        /// Name or id given at `Run`; empty for the container of this connection.
        name: String,
    },
    /// Sends a signal to a container of this run.
    Kill {
        /// Name or id.
        name: String,
        /// The signal's number.
        signal: i32,
    },
    /// Forgets an ended container; a running one is killed first.
    Remove {
        /// Name or id.
        name: String,
    },
    /// Describes an image, by name or digest, or a container of this run.
    Inspect {
        /// What to look for.
        name: String,
    },
    /// Makes sure that an image is on this node; never reaches out to a registry.
    Pull {
        /// Image reference.
        image: String,
    },
    /// Lists the images of this node.
    Images,
    /// One sample of a container's use of memory and cores.
    Stats {
        /// Name or id.
        name: String,
    },
    /// The shim itself refused a flag (`--privileged`, `--cap-add`, `--pid=host`, …). The supervisor notes it
    /// so that the run's failure message can name it; the answer is [`ShimReply::Done`].
    RefusedFlag {
        /// What was refused and why, in words for people.
        reason: String,
    },
}

/// A container to run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RunContainer {
    /// [`SHIM_PROTOCOL_VERSION`].
    pub version: u32,
    /// Image reference as the engine wrote it: `NAME:TAG` or `NAME@sha256:…`.
    pub image: String,
    /// Replaces the image's entry point; an empty list clears it.
    pub entrypoint: Option<Vec<String>>,
    /// Arguments after the image's name.
    pub argv: Vec<String>,
    /// Working directory inside the container.
    pub workdir: Option<String>,
    /// Variables, later ones win. Names beginning with `AWS_` and `READVAULT_` are the supervisor's.
    pub env: Vec<(String, String)>,
    /// Binds in the order of the command line.
    pub binds: Vec<Bind>,
    /// Cores asked for.
    pub cpus: Option<f64>,
    /// Bytes of memory asked for.
    pub memory_bytes: Option<u64>,
    /// Bytes of `/dev/shm` asked for.
    pub shm_bytes: Option<u64>,
    /// `--name`, unique among the run's live containers.
    pub name: Option<String>,
    /// Whether the root file system must refuse all writes.
    pub read_only: bool,
    /// Whether standard input is connected (`-i`).
    pub interactive: bool,
    /// The network that was asked for: `none`, or what the command line said. Never given.
    pub network: Option<String>,
    /// `--label`s: claims of the engine, such as a task's name.
    pub labels: Vec<(String, String)>,
}

/// One bind of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Absolute path as the engine sees it.
    pub source: String,
    /// Absolute path inside the container.
    pub target: String,
    /// Whether writes are refused.
    pub readonly: bool,
    /// Whether a missing source directory is made (`-v` does, `--mount` does not).
    pub create: bool,
}

/// What the supervisor answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum ShimReply {
    /// Done as asked.
    Done,
    /// Not done; the reason goes to standard error and `code` is the exit code.
    Refused {
        /// In words for people.
        reason: String,
        /// 125, 126 or 127, as docker's.
        code: i32,
    },
    /// The container exists; what `--cidfile` gets.
    Started {
        /// 32 hexadecimal digits.
        container: String,
    },
    /// The payload is standard output of the container.
    Stdout,
    /// The payload is standard error of the container.
    Stderr,
    /// The container ended; the last frame.
    Exited {
        /// Exit code; 128+n for a signal.
        code: i32,
    },
    /// What `inspect` found.
    Inspect(InspectReply),
    /// The images of this node.
    Images {
        /// Names and digests of manifests.
        images: Vec<(String, String)>,
    },
    /// A sample of a container's use.
    Stats {
        /// The container's id.
        container: String,
        /// Bytes of memory in use.
        memory_bytes: u64,
        /// Limit in bytes.
        memory_bytes_max: u64,
        /// Seconds of CPU used so far.
        cpu_seconds: f64,
        /// Processes and threads.
        pids: u64,
    },
}

/// What `inspect` found.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum InspectReply {
    /// An image.
    Image {
        /// `NAME:TAG`.
        name: String,
        /// Digest of the manifest.
        digest: String,
        /// Digest of the configuration.
        config_digest: String,
        /// The image configuration document (OCI image-spec `config.json`).
        config: Box<serde_json::Value>,
    },
    /// A container.
    Container {
        /// Its id.
        container: String,
        /// Its name.
        name: String,
        /// Image reference as asked for.
        image: String,
        /// Whether it still runs.
        running: bool,
        /// Exit code, once it ended.
        exit_code: Option<i32>,
    },
}
