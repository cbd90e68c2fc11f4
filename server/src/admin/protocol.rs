//! The conversation: one request a connection, then progress, then an answer or a refusal. Frames are
//! those of `readvault_exec_protocol`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Ask, Progress};

/// Version of the conversation; client and server are mostly one program.
pub(super) const VERSION: u32 = 1;

/// The socket, in the data directory.
pub(super) const SOCKET: &str = "admin.sock";

/// What a client sends.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) version: u32,
    pub(super) ask: Ask,
}

/// What it gets: any number of `Progress`, then one of the others.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    Progress(Progress),
    Done {
        /// For people.
        text: String,
        /// For machines.
        value: Value,
    },
    Refused(Refusal),
}

/// Why a command was not done, or not to its end.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Refusal {
    /// Exit status of the client.
    pub(super) code: u8,
    /// What is wrong and what to do.
    pub(super) message: String,
    /// What it comes from.
    pub(super) cause: Option<String>,
}
