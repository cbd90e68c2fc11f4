//! Starts runs, and removes what is left of each when its supervisor has ended.

use std::{os::unix::net::UnixStream as StdUnixStream, process::Stdio, sync::Arc, time::Duration};

use readvault_ambient::System;
use readvault_exec_protocol::agent::RunTicket;
use tokio::{io::AsyncWriteExt, net::UnixStream, process::Command, sync::Mutex};
use uuid::Uuid;

use super::{Agent, LiveRun};
use crate::{
    cgroup::TASKS,
    fault::{Doing, Fault},
    reaper,
    supervisor::{OVERHEAD_BYTES, SuperviseOrder},
};

/// Least bytes of a run's memory and of its tmpfs.
const RUN_BYTES_MIN: u64 = 16 << 20;

/// How long runs may take to end with the agent.
const END_MAX: Duration = Duration::from_secs(30);

impl Agent {
    /// Starts a run. When this returns a supervisor exists.
    ///
    /// # Errors
    /// When the ticket is stale, there is no room, or the node refuses; nothing is left then.
    pub(super) async fn start(self: &Arc<Self>, ticket: RunTicket) -> Result<(), Fault> {
        let run = ticket.run;
        self.admit(&ticket)?;
        let uid = self.ledger().leases.take(run, self.salt)?;
        let launched = self.launch(&ticket, uid).await;
        let (mut child, line) = match launched {
            Ok(launched) => launched,
            Err(fault) => {
                self.remove(run).await;
                return Err(fault);
            }
        };
        let live = LiveRun { line: Arc::new(Mutex::new(line)), resources: ticket.resources };
        let mut ledger = self.ledger();
        ledger.runs.insert(run, live);
        ledger.attempts.insert(run, ticket.attempt);
        drop(ledger);
        let agent = Arc::clone(self);
        tokio::spawn(async move {
            let status = child.wait().await;
            tracing::info!(%run, ?status, "the supervisor ended");
            agent.remove(run).await;
        });
        Ok(())
    }

    fn admit(&self, ticket: &RunTicket) -> Result<(), Fault> {
        let ledger = self.ledger();
        if ledger.attempts.get(&ticket.run).is_some_and(|seen| ticket.attempt <= *seen) {
            return Err(Fault::service("a newer attempt of this run is known"));
        }
        if ledger.leases.runs().contains(&ticket.run) {
            return Err(Fault::service("an earlier attempt of this run is not gone yet"));
        }
        let wanted = ticket.resources;
        if wanted.memory_bytes < RUN_BYTES_MIN || wanted.scratch_bytes < RUN_BYTES_MIN {
            return Err(Fault::service(format!("a run needs at least {RUN_BYTES_MIN} bytes")));
        }
        let needs = |run: &readvault_exec_protocol::agent::RunResources| {
            run.memory_bytes.saturating_add(run.scratch_bytes).saturating_add(OVERHEAD_BYTES)
        };
        let taken: u64 = ledger.runs.values().map(|live| needs(&live.resources)).sum();
        if taken.saturating_add(needs(&wanted)) > self.memory_bytes {
            let message = format!(
                "no room: the run needs {} bytes of memory, {} of {} are taken",
                needs(&wanted),
                taken,
                self.memory_bytes,
            );
            return Err(Fault::service(message));
        }
        Ok(())
    }

    async fn launch(
        &self,
        ticket: &RunTicket,
        uid: u32,
    ) -> Result<(tokio::process::Child, tokio::net::unix::OwnedWriteHalf), Fault> {
        let group = reaper::run_group(&self.cgroups, &self.parent, ticket.run);
        for name in ["svc", "engine", TASKS] {
            group.child(name).create()?;
        }
        let (ours, theirs) = StdUnixStream::pair().doing("making a line to a supervisor")?;
        let child = Command::new("/proc/self/exe")
            .arg("supervise")
            .env_clear()
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()
            .doing("starting a supervisor")?;
        ours.set_nonblocking(true).doing("a line to a supervisor")?;
        let line = UnixStream::from_std(ours).doing("a line to a supervisor")?;
        // The reading half says nothing; dropping it does not close the line.
        let (_, mut line) = line.into_split();
        let order = SuperviseOrder {
            ticket: ticket.clone(),
            group: group.absolute_path(),
            uid,
            images: self.images_dir.clone(),
        };
        let mut text = serde_json::to_vec(&order).doing("ordering a run")?;
        text.push(b'\n');
        line.write_all(&text).await.doing("ordering a run")?;
        Ok((child, line))
    }

    /// Removes all of a run and frees its range, trying until nothing is left.
    async fn remove(&self, run: Uuid) {
        loop {
            let (cgroups, parent) = (self.cgroups.clone(), self.parent.clone());
            let reaped =
                tokio::task::spawn_blocking(move || reaper::reap(&cgroups, &parent, run, &System));
            let done = match reaped.await.doing("a thread") {
                Ok(Ok(())) => self.ledger().leases.free(run),
                Ok(Err(fault)) | Err(fault) => Err(fault),
            };
            match done {
                Ok(()) => break,
                Err(fault) => tracing::error!(%run, "{fault}"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.ledger().runs.remove(&run);
    }

    /// Ends every run and waits until nothing is left, for a while: the next agent takes the rest.
    pub(super) async fn end_all(&self) {
        let runs: Vec<Uuid> = self.ledger().runs.keys().copied().collect();
        for run in runs {
            self.cancel(run, 0).await;
        }
        let gone = async {
            while !self.ledger().runs.is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = tokio::time::timeout(END_MAX, gone).await;
    }
}
