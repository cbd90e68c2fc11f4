//! What every part of a supervisor shares: the run, its files, and what was noted about it so far.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
};

use readvault_exec_protocol::run::RunSpec;
use tokio::sync::{mpsc, watch};

use super::{admission::Admission, files::RunFiles, logs::Logs, session::Session};
use crate::{
    cgroup::Cgroup,
    fault::{Because, Doing, FailureReason, Fault},
    images::ImageStore,
};

/// Why a run ends before its engine does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// The server asked for it.
    Cancelled {
        /// Milliseconds between SIGTERM and SIGKILL.
        grace_ms: u64,
    },
    /// It took longer than it may.
    TimedOut,
    /// The server no longer knows it, or is away for too long.
    Lost(String),
    /// The agent is gone.
    AgentDied,
}

/// A run being executed.
#[derive(Debug)]
pub(super) struct Run {
    /// What to execute.
    pub spec: RunSpec,
    /// Its directories.
    pub files: RunFiles,
    /// The server.
    pub session: Session,
    /// Its logs.
    pub logs: Logs,
    /// The node's images.
    pub images: Arc<ImageStore>,
    /// Its control group.
    pub group: Cgroup,
    /// Room for tasks.
    pub admission: Admission,
    /// Why it ends early, once it does.
    pub end: watch::Receiver<Option<EndCause>>,
    notes: Mutex<Notes>,
}

/// What was noted about a run.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Containers by id.
    pub containers: HashMap<String, ContainerNote>,
    /// Tasks that failed, in order.
    pub failures: Vec<TaskFailure>,
    /// What was refused, in order.
    pub refusals: Vec<Fault>,
    /// Most bytes of the run's tmpfs that were seen in use.
    pub scratch_peak_bytes: u64,
    resolved: HashMap<String, String>,
}

/// A container of the run.
#[derive(Clone, Debug)]
pub(super) struct ContainerNote {
    /// Its name, or its id.
    pub name: String,
    /// Image reference as asked for.
    pub image: String,
    /// Exit code, once it ended.
    pub exit_code: Option<i32>,
    /// Its control group.
    pub cgroup: Cgroup,
    /// Bytes of memory that it may use.
    pub memory_bytes: u64,
    /// Orders for it.
    pub orders: mpsc::Sender<Order>,
}

/// An order for a live container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Send this signal.
    Signal(i32),
    /// SIGTERM, then SIGKILL after a while.
    Stop,
}

/// A task that failed.
#[derive(Clone, Debug)]
pub(super) struct TaskFailure {
    /// Its name (claimed).
    pub name: String,
    /// Its exit code.
    pub code: i32,
    /// Whether memory ended it.
    pub out_of_memory: bool,
    /// What it said last.
    pub last_lines: String,
}

/// An image that a reference resolved to.
#[derive(Clone, Debug)]
pub(super) struct ResolvedImage {
    /// Digest of the manifest.
    pub digest: String,
    /// Its tree.
    pub tree: PathBuf,
    /// Program prefix of its configuration.
    pub entrypoint: Vec<String>,
    /// Default arguments of its configuration.
    pub command: Vec<String>,
    /// Variables of its configuration.
    pub env: Vec<(String, String)>,
    /// Working directory of its configuration.
    pub workdir: Option<String>,
    /// Labels of its configuration.
    pub labels: HashMap<String, String>,
}

impl Run {
    /// A run about which nothing is noted.
    pub(super) fn new(parts: RunParts) -> Self {
        let RunParts { spec, files, session, logs, images, group, end } = parts;
        let admission = Admission::new(spec.resources.cpus, spec.resources.memory_bytes);
        Self {
            spec,
            files,
            session,
            logs,
            images,
            group,
            admission,
            end,
            notes: Mutex::new(Notes::default()),
        }
    }

    /// What was noted; never held over an await.
    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Notes a refusal for the failure message and the run's log.
    pub(super) fn refuse(&self, fault: &Fault) {
        self.logs.event(&format!("refused: {}", fault.message));
        self.notes().refusals.push(fault.clone());
    }

    /// Notes how much of the run's tmpfs is in use.
    pub(super) fn note_scratch(&self) {
        let used = self.files.scratch_usage().map_or(0, |(used, _)| used);
        let mut notes = self.notes();
        notes.scratch_peak_bytes = notes.scratch_peak_bytes.max(used);
    }

    /// The image that `reference` means: one digest for the whole run.
    ///
    /// # Errors
    /// When this node has no such image.
    pub(super) fn image(&self, reference: &str) -> Result<ResolvedImage, Fault> {
        let pinned = self.spec.images.iter().find(|(name, _)| name == reference);
        let known = pinned.map(|(_, digest)| digest.clone());
        let known = known.or_else(|| self.notes().resolved.get(reference).cloned());
        let digest = match known {
            Some(digest) => digest,
            None => {
                let record = self
                    .images
                    .resolve(reference)
                    .doing(format_args!("image {reference:?}"))
                    .because(FailureReason::ImageVerificationFailure)?;
                self.notes().resolved.insert(reference.to_owned(), record.digest.clone());
                record.digest
            }
        };
        resolved(&self.images, &digest)
    }
}

/// What [`Run::new`] takes.
#[derive(Debug)]
pub(super) struct RunParts {
    /// What to execute.
    pub spec: RunSpec,
    /// Its directories.
    pub files: RunFiles,
    /// The server.
    pub session: Session,
    /// Its logs.
    pub logs: Logs,
    /// The node's images.
    pub images: Arc<ImageStore>,
    /// Its control group.
    pub group: Cgroup,
    /// Why it ends early, once it does.
    pub end: watch::Receiver<Option<EndCause>>,
}

/// The image with this digest.
///
/// # Errors
/// When this node has no such image.
pub(super) fn resolved(images: &ImageStore, digest: &str) -> Result<ResolvedImage, Fault> {
    let of = || format!("image {digest}");
    let bad = FailureReason::ImageVerificationFailure;
    let tree = images.rootfs(digest).doing(of()).because(bad)?;
    let document = images.config(digest).doing(of()).because(bad)?;
    let config = document.config().clone().unwrap_or_default();
    let env = config.env().clone().unwrap_or_default();
    Ok(ResolvedImage {
        digest: digest.to_owned(),
        tree,
        entrypoint: config.entrypoint().clone().unwrap_or_default(),
        command: config.cmd().clone().unwrap_or_default(),
        env: env
            .iter()
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        workdir: config.working_dir().clone().filter(|dir| !dir.is_empty()),
        labels: config.labels().clone().unwrap_or_default(),
    })
}
