//! Which task opened which input: told to the server once for each pair.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

use readvault_exec_protocol::run::{Access, RunRequest};
use uuid::Uuid;

use super::connection::Server;

/// Reports that may wait for the server; more are dropped, which is why this is best effort.
const REPORTS_MAX: usize = 1024;

/// Notes opens. An open by a process of no task (the supervisor, the engine) is not reported.
#[derive(Debug)]
pub(super) struct Opens {
    known: Mutex<HashSet<(Uuid, u32)>>,
    reports: SyncSender<RunRequest>,
}

impl Opens {
    /// Reports to `server`, from a thread of its own so that no open waits for it.
    pub(super) fn new(server: Arc<Server>) -> Self {
        let (reports, waiting) = sync_channel::<RunRequest>(REPORTS_MAX);
        let spawned = thread::Builder::new().name("opens".into()).spawn(move || {
            for report in waiting {
                server.report(&report);
            }
        });
        // Without the thread every send fails, and opens go unreported.
        drop(spawned);
        Self { known: Mutex::default(), reports }
    }

    /// Notes that process `pid` opened `input`.
    pub(super) fn note(&self, pid: u32, input: u32) {
        let Some(task) = task_of(pid) else { return };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.insert((task, input)) {
            let access = Access::Opened;
            let _ = self.reports.try_send(RunRequest::Access { task, input, access });
        }
    }
}

/// The task of a process, by the cgroup that the supervisor put it in.
fn task_of(pid: u32) -> Option<Uuid> {
    task_in(&std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)
}

fn task_in(cgroups: &str) -> Option<Uuid> {
    cgroups.lines().find_map(|line| {
        let (_, below) = line.split_once("/tasks/")?;
        Uuid::try_parse(below.split('/').next()?).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_named_by_its_cgroup() {
        let task = "0b9c7f0e-6f0e-4a55-9a0b-0d6a1f4c2d11";
        let v1 = format!("5:memory:/readvault/run/tasks/{task}\n1:name=systemd:/x\n0::/\n");
        assert_eq!(task_in(&v1).unwrap().to_string(), task);
        assert_eq!(task_in(&format!("0::/rv/r/tasks/{task}/sub\n")).unwrap().to_string(), task);
        for other in ["", "0::/\n", "0::/rv/r/engine\n", "0::/rv/tasks/not-a-task\n"] {
            assert_eq!(task_in(other), None);
        }
    }
}
