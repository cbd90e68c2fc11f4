//! What a run says of itself: states, tasks, accesses, logs, outputs and the end.

use std::sync::{Arc, atomic::Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use readvault_exec_protocol::{
    run::{Access, LogName, RunReport, RunState, TaskReport},
    sink::{OutputSink, StagedOutput},
    source::SourceError,
};
use readvault_store::catalog::Commit;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    RunStatus, Runs,
    live::{LiveRun, unavailable},
    objects::OutputBody,
    row,
    uri::S3Uri,
};
use crate::{
    Fault, FaultKind,
    core::{Stored, contended, encode},
    fault::Result,
    run_log,
    task::{self, Task},
};

/// Most outputs of one run: they become visible by one commit.
pub const OUTPUTS_MAX: usize = 1000;

/// Most tasks of one run.
pub const TASKS_MAX: usize = 100_000;

/// The output that this server writes itself.
pub(crate) const OUTPUTS_DOCUMENT: &str = "logs/outputs.json";

/// What stands in a log where lines were dropped.
pub(crate) const LOG_FULL: &str = "[the run's log limit is reached: later lines are dropped]";

#[async_trait]
impl OutputSink for Runs {
    async fn state(&self, token: &str, state: RunState) -> Result<(), SourceError> {
        let live = self.authenticate(token).await?;
        let lock = self.lock(&live.id);
        let _held = lock.lock().await;
        self.note_state(&live, state).await.map_err(|fault| said(&fault))
    }

    async fn task(&self, token: &str, report: TaskReport) -> Result<(), SourceError> {
        let live = self.authenticate(token).await?;
        let lock = self.lock(&live.id);
        let _held = lock.lock().await;
        self.note_task(&live, report).await.map_err(|fault| said(&fault))
    }

    async fn access(
        &self,
        token: &str,
        task: Uuid,
        input: u32,
        access: Access,
    ) -> Result<(), SourceError> {
        let live = self.authenticate(token).await?;
        let known = usize::try_from(input).is_ok_and(|index| index < live.inputs.len());
        if !known {
            return Err(SourceError::Invalid("the run has no such input".into()));
        }
        let lock = self.lock(&live.id);
        let _held = lock.lock().await;
        self.note_access(&live, task, input, access).await.map_err(|fault| said(&fault))
    }

    async fn log(&self, token: &str, log: LogName, lines: Bytes) -> Result<(), SourceError> {
        let live = self.authenticate(token).await?;
        let lock = self.lock(&live.id);
        let _held = lock.lock().await;
        self.append_log(&live, &log, &lines).await.map_err(|fault| said(&fault))
    }

    async fn output(
        &self,
        token: &str,
        path: String,
        body: mpsc::Receiver<Bytes>,
    ) -> Result<StagedOutput, SourceError> {
        let live = self.authenticate(token).await?;
        check_path(&path).map_err(|reason| SourceError::Invalid(reason.into()))?;
        if live.outputs.lock().len() >= OUTPUTS_MAX {
            return Err(SourceError::Invalid("a run has at most 1,000 outputs".into()));
        }
        let mut body = body;
        let body = stream::poll_fn(move |context| body.poll_recv(context)).map(Ok);
        self.stage_output(&live, &path, Box::pin(body)).await.map_err(|fault| said(&fault))
    }

    async fn finish(&self, token: &str, report: RunReport) -> Result<(), SourceError> {
        let live = self.authenticate(token).await?;
        let lock = self.lock(&live.id);
        let _held = lock.lock().await;
        self.finish_run(&live, report).await
    }
}

/// A fault, in the words of the conversation.
fn said(fault: &Fault) -> SourceError {
    match fault.kind {
        FaultKind::NoSuchBucket => {
            SourceError::Revoked("EXPORT_FAILED: the bucket of outputUri is gone".into())
        }
        FaultKind::AccessDenied | FaultKind::Unauthenticated => {
            SourceError::Revoked(fault.to_string())
        }
        _ => unavailable(fault),
    }
}

impl Runs {
    async fn note_state(&self, live: &LiveRun, state: RunState) -> Result<()> {
        let Stored { value: mut run, version } = self.load(&live.id).await?;
        let status = match state {
            RunState::Starting => RunStatus::Starting,
            RunState::Running => RunStatus::Running,
            RunState::Stopping => RunStatus::Stopping,
        };
        // A repeated or late word changes nothing; a run that is to end stays so.
        if run.status >= status {
            return Ok(());
        }
        run.status = status;
        if status == RunStatus::Running {
            run.started_ms.get_or_insert(self.core().now_ms());
        }
        let mut commit = Commit::new();
        commit.unchanged(row(&run.id), version).put(row(&run.id), encode(&run));
        if self.core().commit(commit).await? { Ok(()) } else { Err(contended()) }
    }

    async fn note_task(&self, live: &LiveRun, report: TaskReport) -> Result<()> {
        let known = live.tasks.lock().get(&report.task).cloned();
        let task = match &known {
            Some(id) => {
                let stored = self.core().load::<Task>(&task::row(&live.id, id)).await?;
                let mut task = stored.ok_or_else(|| Fault::internal("a task's row is gone"))?.value;
                if task::rank(report.state) < task::rank(task.report.state) {
                    return Ok(());
                }
                task.report = report;
                task
            }
            None => {
                if live.tasks.lock().len() >= TASKS_MAX {
                    return Err(Fault::invalid("a run has at most 100,000 tasks"));
                }
                Task {
                    id: self.core().next_id("task", task::FIRST_ID).await?.to_string(),
                    run: live.id.clone(),
                    report,
                    created_ms: self.core().now_ms(),
                    accesses: std::collections::BTreeMap::new(),
                }
            }
        };
        self.put_task(live, &task).await
    }

    async fn put_task(&self, live: &LiveRun, task: &Task) -> Result<()> {
        let mut commit = Commit::new();
        commit.put(task::row(&live.id, &task.id), encode(task));
        if !self.core().commit(commit).await? {
            return Err(contended());
        }
        live.tasks.lock().insert(task.report.task, task.id.clone());
        Ok(())
    }

    async fn note_access(
        &self,
        live: &LiveRun,
        task: Uuid,
        input: u32,
        access: Access,
    ) -> Result<()> {
        let key = (task, input, access == Access::Opened);
        if live.accesses.lock().contains(&key) {
            return Ok(());
        }
        let id = live.tasks.lock().get(&task).cloned();
        let id = id.ok_or_else(|| Fault::invalid("the run has no such task"))?;
        let stored = self.core().load::<Task>(&task::row(&live.id, &id)).await?;
        let mut task = stored.ok_or_else(|| Fault::internal("a task's row is gone"))?.value;
        let accesses = task.accesses.entry(input).or_default();
        if !accesses.contains(&access) {
            accesses.push(access);
            self.put_task(live, &task).await?;
        }
        live.accesses.lock().insert(key);
        Ok(())
    }

    async fn append_log(&self, live: &LiveRun, log: &LogName, lines: &Bytes) -> Result<()> {
        let stream = match log {
            LogName::Run => run_log::run_stream(&live.id),
            LogName::Engine => run_log::engine_stream(&live.id),
            LogName::Task { task } => {
                let id = live.tasks.lock().get(task).cloned();
                let id = id.ok_or_else(|| Fault::invalid("the run has no such task"))?;
                run_log::task_stream(&live.id, &id)
            }
        };
        if lines.is_empty() || live.log_full.load(Ordering::Relaxed) {
            return Ok(());
        }
        let length = lines.len() as u64;
        let before = live.log_bytes.fetch_add(length, Ordering::Relaxed);
        if before.saturating_add(length) > self.parts.settings.log_bytes_max {
            live.log_full.store(true, Ordering::Relaxed);
            return run_log::append(self.core(), &stream, LOG_FULL).await;
        }
        run_log::append(self.core(), &stream, &String::from_utf8_lossy(lines)).await
    }

    /// Stages `body` as the run's output `path`, in place of what was staged there before.
    pub(crate) async fn stage_output(
        &self,
        live: &LiveRun,
        path: &str,
        body: OutputBody,
    ) -> Result<StagedOutput> {
        let target = S3Uri::parse(&format!("{}/{path}", live.run_output_uri))
            .map_err(|reason| Fault::invalid(format!("output {path:?}: {reason}")))?;
        let seen = Arc::new(Mutex::new(Sha256::new()));
        let hash = seen.clone();
        let body = body.inspect(move |piece| {
            if let Ok(bytes) = piece {
                hash.lock().update(bytes);
            }
        });
        let objects = &self.parts.workflows.objects;
        let mut pending =
            objects.stage(&live.permit, &target.bucket, &target.key, Box::pin(body)).await?;
        pending.sha256 = hex::encode(seen.lock().clone().finalize());
        let staged =
            StagedOutput { sha256: pending.sha256.clone(), length: pending.staged.file().length };
        live.outputs.lock().insert(path.to_owned(), pending);
        Ok(staged)
    }
}

/// A path below `out/` or `logs/` that leaves neither.
fn check_path(path: &str) -> std::result::Result<(), &'static str> {
    let mut segments = path.split('/');
    let legal = matches!(segments.next(), Some("out" | "logs"))
        && path.len() <= 900
        && path.contains('/')
        && !path.chars().any(char::is_control)
        && segments.all(|segment| !matches!(segment, "" | "." | ".."));
    if !legal {
        return Err("an output's path must lie below out/ or logs/");
    }
    if path == OUTPUTS_DOCUMENT {
        return Err("this output is written by the server");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_stay_below_their_prefix() {
        for good in ["out/a", "out/name/0/x y.bam", "logs/engine.log"] {
            check_path(good).unwrap();
        }
        let bad = [
            "", "out", "out/", "/out/a", "a/b", "out/../x", "out//x", "out/./x", "out/a\n",
            "../out/a",
        ];
        for bad in bad.into_iter().chain([OUTPUTS_DOCUMENT]) {
            check_path(bad).expect_err(bad);
        }
    }
}
