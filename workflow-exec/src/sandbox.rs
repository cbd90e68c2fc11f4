//! One container: its bundle, the helper process that makes it, and what the helper says.
//!
//! `readvault-exec sandbox` is a small single-threaded process that makes one container with
//! libcontainer, waits for it and says so on a pipe. The supervisor prepares everything that needs
//! judgement (root file system, binds, control group) beforehand; the helper decides nothing.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub mod bundle;
pub mod helper;
mod init;
mod seccomp;

/// What the helper needs beside the bundle; its arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct HelperArgs {
    /// Directory that holds `config.json`.
    #[arg(long)]
    pub bundle: PathBuf,
    /// Directory for libcontainer's own state.
    #[arg(long)]
    pub state: PathBuf,
    /// Name of the container.
    #[arg(long)]
    pub id: String,
    /// Descriptor on which [`Status`] lines are written.
    #[arg(long)]
    pub status_fd: i32,
    /// The supervisor's process id: the helper ends when its parent is another.
    #[arg(long)]
    pub parent: i32,
}

impl HelperArgs {
    /// The command line of these arguments.
    pub fn to_argv(&self) -> Vec<String> {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        vec![
            "sandbox".to_owned(),
            format!("--bundle={}", path(&self.bundle)),
            format!("--state={}", path(&self.state)),
            format!("--id={}", self.id),
            format!("--status-fd={}", self.status_fd),
            format!("--parent={}", self.parent),
        ]
    }
}

/// What the helper says, one JSON line each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Status {
    /// The container's first process runs.
    Started {
        /// Its process id, as the node sees it.
        pid: i32,
    },
    /// It ended.
    Exited {
        /// Exit code; 128+n for a signal.
        code: i32,
    },
    /// The container could not be made.
    Failed {
        /// Why.
        message: String,
    },
}
