//! What a command works with: the desk, its call, and the answer that it gives.

use std::{path::PathBuf, sync::Arc, time::Duration};

use readvault_ops::{authorize::Permit, core::Core, erasure::Erasures};
use readvault_store::keys::MasterKeys;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::app::Checkpoints;

/// What commands work on. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Desk {
    /// The ground of every operation.
    pub core: Core,
    /// The versions of the master key.
    pub master_keys: Arc<dyn MasterKeys>,
    /// Erasures and their receipts.
    pub erasures: Erasures,
    /// Checkpoints of the catalog.
    pub checkpoints: Checkpoints,
    /// The data directory.
    pub data: PathBuf,
    /// Reading of the monotonic clock at which the server began.
    pub began: Duration,
}

/// One call of a command.
#[derive(Debug)]
pub struct Call {
    /// Says that the caller may do it.
    pub permit: Permit,
    /// User id of the caller's process.
    pub uid: u32,
    pub(super) progress: mpsc::Sender<Progress>,
}

impl Call {
    /// Tells the client how far the command is. What it can't take at once is left out.
    pub fn progress(&self, progress: Progress) {
        let _ = self.progress.try_send(progress);
    }

    /// The same for a thread of its own.
    pub(super) fn progress_sender(&self) -> mpsc::Sender<Progress> {
        self.progress.clone()
    }
}

/// How far a command is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What it is doing: `rewrapping store keys`.
    pub doing: String,
    /// How much of it is done.
    pub done: u64,
    /// How much there is, when that is known.
    pub of: Option<u64>,
}

impl Progress {
    /// `done` of `of` while doing `doing`.
    pub fn new(doing: impl Into<String>, done: u64, of: impl Into<Option<u64>>) -> Self {
        Self { doing: doing.into(), done, of: of.into() }
    }
}

/// What a command found or did.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// For people; the most important line last.
    pub text: String,
    /// For machines.
    pub value: Value,
}

impl Answer {
    /// An answer in words, and as `value`.
    pub fn new(text: impl Into<String>, value: &impl Serialize) -> Self {
        let value = serde_json::to_value(value).expect("answers serialise to JSON");
        Self { text: text.into(), value }
    }
}
