//! One live container: its helper process, standard streams and control group.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use nix::{
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    sys::signal::{Signal, kill},
    unistd::{Pid, pipe2},
};
use readvault_ambient::System;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    net::unix::pipe,
    process::{Child, Command},
    time::timeout,
};

use super::{
    files::RunFiles,
    root::{ContainerRoot, PreparedBind},
};
use crate::{
    cgroup::{Cgroup, Limits},
    fault::{Doing, FailureReason, Fault},
    sandbox::{HelperArgs, Status, bundle::Bundle},
};

/// How long the last line of a helper that has ended may take.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// What to run.
#[derive(Debug)]
pub(super) struct ContainerPlan {
    /// Name of its directories and control group; unique in the run.
    pub id: String,
    /// The image's tree.
    pub image: PathBuf,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables.
    pub env: Vec<(String, String)>,
    /// Working directory; made when missing.
    pub cwd: String,
    /// Binds, in order.
    pub binds: Vec<PreparedBind>,
    /// Its control group, to be made.
    pub cgroup: Cgroup,
    /// Its limits.
    pub limits: Limits,
    /// Bytes of `/dev/shm`.
    pub shm_bytes: u64,
    /// Whether standard input is connected.
    pub stdin: bool,
}

/// A container whose helper was started.
#[derive(Debug)]
pub(super) struct Container {
    /// The helper, with the container's standard streams.
    pub helper: Child,
    /// Its control group.
    pub cgroup: Cgroup,
    root: ContainerRoot,
    status: Lines<BufReader<pipe::Receiver>>,
    pid: Option<i32>,
    early: Option<Option<Status>>,
}

impl Container {
    /// Prepares and starts a container. Forks on the calling thread, which must be the process's main one.
    ///
    /// # Errors
    /// When anything of it is refused; nothing of it is left then.
    pub(super) fn start(files: &RunFiles, plan: &ContainerPlan) -> Result<Self, Fault> {
        let root = ContainerRoot::build(files, &plan.id, &plan.image)?;
        match Self::launch(files, plan, &root) {
            Ok((helper, status)) => {
                let status = BufReader::new(status).lines();
                Ok(Self {
                    helper,
                    cgroup: plan.cgroup.clone(),
                    root,
                    status,
                    pid: None,
                    early: None,
                })
            }
            Err(fault) => {
                // The first fault is the one to tell; the run's end takes what stays.
                plan.cgroup.remove().ok();
                root.destroy().ok();
                Err(fault)
            }
        }
    }

    fn launch(
        files: &RunFiles,
        plan: &ContainerPlan,
        root: &ContainerRoot,
    ) -> Result<(Child, pipe::Receiver), Fault> {
        for wanted in &plan.binds {
            root.add(wanted)?;
        }
        root.make_target(&plan.cwd, true)?;
        plan.cgroup.create()?;
        plan.cgroup.limit(plan.limits)?;
        plan.cgroup.end_together();
        Bundle {
            root: &root.path(),
            argv: &plan.argv,
            env: &plan.env,
            cwd: &plan.cwd,
            uid: files.uid,
            cgroup: &plan.cgroup,
            shm_bytes: plan.shm_bytes,
            hostname: "run",
        }
        .write(root.bundle())?;
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).doing("making a pipe")?;
        // The only descriptor beside standard streams that the helper inherits; no other fork can come
        // between, because all forks happen on this thread.
        let keep = |flag| fcntl(writer.as_raw_fd(), FcntlArg::F_SETFD(flag));
        keep(FdFlag::empty()).doing("handing over a pipe")?;
        let args = HelperArgs {
            bundle: root.bundle().to_owned(),
            state: files.control("state"),
            id: plan.id.clone(),
            status_fd: writer.as_raw_fd(),
            parent: std::process::id() as i32,
        };
        let stdin = if plan.stdin { Stdio::piped() } else { Stdio::null() };
        let helper = Command::new("/proc/self/exe")
            .args(args.to_argv())
            .env_clear()
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .doing("starting a sandbox helper")?;
        drop(writer);
        Ok((helper, receiver(reader)?))
    }

    /// Waits until the container runs or can't; that is then the next status as well.
    pub(super) async fn begun(&mut self) -> bool {
        let first = self.next_status().await;
        let runs = matches!(first, Some(Status::Started { .. }));
        self.early = Some(first);
        runs
    }

    /// The next thing the helper says; none when it is gone.
    pub(super) async fn next_status(&mut self) -> Option<Status> {
        if let Some(early) = self.early.take() {
            return early;
        }
        loop {
            let line = tokio::select! {
                biased;
                line = self.status.next_line() => line,
                // Its pipe may live on in a container that was being made: its end is what counts.
                _ = self.helper.wait() => {
                    timeout(LAST_WORDS, self.status.next_line()).await.unwrap_or(Ok(None))
                }
            };
            let line = line.ok()??;
            if let Ok(status) = serde_json::from_str::<Status>(&line) {
                if let Status::Started { pid } = status {
                    self.pid = Some(pid);
                }
                return Some(status);
            }
        }
    }

    /// Sends a signal to the container's first process, which passes it on. SIGKILL takes all of it.
    pub(super) fn signal(&self, number: i32) {
        let Ok(signal) = Signal::try_from(number) else { return };
        if signal == Signal::SIGKILL {
            for pid in self.cgroup.pids() {
                let _ = kill(Pid::from_raw(pid), signal);
            }
        } else if let Some(pid) = self.pid.filter(|pid| self.cgroup.pids().contains(pid)) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Ends every process of the container and removes all of it.
    ///
    /// # Errors
    /// When something stays.
    pub(super) async fn destroy(mut self) -> Result<(), Fault> {
        let cgroup = self.cgroup.clone();
        tokio::task::spawn_blocking(move || cgroup.kill(&System)).await.doing("a thread")??;
        // It ends by itself once the container has; a second signal to a reaped child is no error.
        let _ = self.helper.kill().await;
        self.cgroup.remove()?;
        self.root.destroy()
    }
}

fn receiver(reader: OwnedFd) -> Result<pipe::Receiver, Fault> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_RDONLY;
    fcntl(reader.as_raw_fd(), FcntlArg::F_SETFL(flags)).doing("a pipe")?;
    pipe::Receiver::from_owned_fd(reader).doing("a pipe")
}

/// Why a container that said nothing more counts as lost.
pub(super) fn lost_helper() -> Fault {
    Fault::new(FailureReason::ServiceError, "the sandbox helper of a container was lost")
}
