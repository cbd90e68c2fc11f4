//! One process a run: it holds the run's mount name space, decides everything that the run's code asks
//! for, reports to the server and destroys the run.
//!
//! Standard input is its line to the agent: first the order, then cancellations; its end means that the
//! agent is gone, and the run with it.

use std::{
    io::{self, Read},
    os::fd::AsFd,
    os::unix::net::UnixStream as StdUnixStream,
    path::PathBuf,
};

use nix::sys::{
    prctl,
    resource::{Resource, setrlimit},
};
use readvault_exec_protocol::agent::RunTicket;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::UnixStream,
    sync::watch,
};

use crate::{
    cgroup::{Cgroup, Cgroups, Limits, TASKS},
    fault::{Doing, Fault},
};

mod admission;
mod attend;
mod binds;
mod container;
mod context;
mod definition;
mod engine;
mod execute;
mod files;
mod inputs_mount;
mod logs;
mod outputs;
mod root;
mod session;
mod shim_server;
mod stage;
mod task;

pub use context::EndCause;
pub use files::BASE as MOUNT_BASE;

/// Bytes of memory of a supervisor and its mount process.
pub const SERVICE_BYTES: u64 = 256 << 20;

/// Bytes of memory that a run takes beside its tasks and its tmpfs.
pub const OVERHEAD_BYTES: u64 = SERVICE_BYTES + engine::MEMORY_BYTES;

/// What an agent orders; the first line of standard input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SuperviseOrder {
    /// The server's ticket.
    pub ticket: RunTicket,
    /// Path of the run's control group.
    pub group: String,
    /// First uid of the run's range.
    pub uid: u32,
    /// The node's images.
    pub images: PathBuf,
}

/// A later line of standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum SupervisorOrder {
    /// Ends the run.
    Cancel {
        /// Milliseconds between SIGTERM and SIGKILL.
        grace_ms: u64,
    },
}

/// The process: executes the one order on standard input. Must run on the main thread, before others.
///
/// # Errors
/// When the run could not be executed or something of it could not be removed.
pub fn main() -> Result<(), Fault> {
    prctl::set_dumpable(false).doing("hiding memory")?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).doing("switching core dumps off")?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let order = read_order()?;
    let group = Cgroups::detect()?.group(&order.group);
    group.child("svc").join(std::process::id())?;
    // A memory shortage on the node must not end the one process that can clean up.
    std::fs::write("/proc/self/oom_score_adj", "-800").ok();
    let resources = order.ticket.resources;
    group.limit(Limits {
        memory_bytes: Some(
            resources.memory_bytes.saturating_add(resources.scratch_bytes) + OVERHEAD_BYTES,
        ),
        cpus: None,
        pids: None,
    })?;
    group.child(TASKS).limit(Limits {
        memory_bytes: Some(
            resources.memory_bytes.saturating_add(resources.scratch_bytes) + SERVICE_BYTES / 4,
        ),
        cpus: Some(f64::from(resources.cpus.max(1))),
        pids: None,
    })?;
    let files = files::RunFiles::build(order.ticket.run, order.uid, resources.scratch_bytes)?;
    // One thread: every child is forked from the main one, which lives as long as the process.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .doing("starting the runtime")?;
    runtime.block_on(async {
        let (ends, _) = watch::channel(None);
        tokio::spawn(listen(ends.clone()));
        let ended = ends.subscribe();
        execute::execute(&order, files, group.clone(), ends).await?;
        if *ended.borrow() == Some(EndCause::AgentDied) {
            remove_own_group(&group)?;
        }
        Ok(())
    })
}

/// Reads one line without taking a byte of the next.
fn read_order() -> Result<SuperviseOrder, Fault> {
    let mut line = Vec::new();
    let mut byte = [0];
    let mut stdin = StdUnixStream::from(
        io::stdin().as_fd().try_clone_to_owned().doing("the line to the agent")?,
    );
    loop {
        stdin.read_exact(&mut byte).doing("reading the order")?;
        if byte == *b"\n" {
            break;
        }
        line.extend_from_slice(&byte);
    }
    serde_json::from_slice(&line).doing("reading the order")
}

/// Hears the agent; its silence is the run's end.
async fn listen(ends: watch::Sender<Option<EndCause>>) {
    let line = || -> io::Result<UnixStream> {
        let stream = StdUnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        stream.set_nonblocking(true)?;
        UnixStream::from_std(stream)
    };
    let mut lines = line().ok().map(|stream| BufReader::new(stream).lines());
    loop {
        let heard = match &mut lines {
            Some(lines) => lines.next_line().await.ok().flatten(),
            None => None,
        };
        let cause = match heard.map(|text| serde_json::from_str(&text)) {
            Some(Ok(SupervisorOrder::Cancel { grace_ms })) => EndCause::Cancelled { grace_ms },
            Some(Err(_)) => continue,
            None => EndCause::AgentDied,
        };
        let died = cause == EndCause::AgentDied;
        ends.send_if_modified(|end| {
            let first = end.is_none();
            if first {
                *end = Some(cause);
            }
            first
        });
        if died {
            return;
        }
    }
}

/// Leaves the run's group and removes it: there is no agent that would.
fn remove_own_group(group: &Cgroup) -> Result<(), Fault> {
    Cgroups::detect()?.group("").join(std::process::id())?;
    group.remove()
}
