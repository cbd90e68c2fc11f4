//! Compares the runs that have not ended with those of which anything is left on the node.
//!
//! A run that the node no longer has is ended, or handed over again when it never began; a run of the
//! node that has ended here, or that nobody knows, is cancelled there.

use std::{collections::HashMap, time::Duration};

use readvault_exec_protocol::{
    agent::{AgentReply, AgentRequest},
    run::RunOutcome,
};
use readvault_store::catalog::{Commit, Fold, ScanRange};
use uuid::Uuid;

use super::{job_row, start_job};
use crate::{
    core::{Stored, encode, row_of},
    fault::Result,
    run::{Run, RunStatus, Runs, row},
    tables,
};

/// Time between two comparisons.
const PERIOD: Duration = Duration::from_secs(5);

/// Comparisons in a row in which the node must lack a run before that is believed: its last word may
/// still be on the way.
const MISSING_MAX: u32 = 2;

/// Milliseconds between SIGTERM and SIGKILL of a cancelled run.
pub const CANCEL_GRACE_MS: u64 = 10_000;

/// What earlier comparisons found.
#[derive(Debug, Default)]
pub struct Seen {
    missing: HashMap<String, u32>,
    strangers: HashMap<Uuid, u32>,
}

impl Runs {
    /// Compares every few seconds until the future is dropped.
    pub async fn watch(&self) {
        let mut seen = Seen::default();
        loop {
            if let Err(fault) = self.reconcile(&mut seen).await {
                tracing::warn!(%fault, "runs could not be compared with the node's");
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Compares once. Nothing is decided while the node does not answer.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn reconcile(&self, seen: &mut Seen) -> Result<()> {
        let live = self.live_runs().await?;
        let Ok(AgentReply::Runs { runs: there }) =
            self.parts.dispatch.ask(AgentRequest::List).await
        else {
            return Ok(());
        };
        seen.missing.retain(|id, _| live.contains(id));
        let mut known = Vec::new();
        for id in live {
            let stored = self.load(&id).await?;
            let run = &stored.value;
            known.push(run.uuid);
            if there.contains(&run.uuid) {
                seen.missing.remove(&id);
                if run.cancel_requested {
                    self.ask_cancel(run.uuid).await;
                }
                continue;
            }
            let missing = seen.missing.entry(id.clone()).or_default();
            *missing += 1;
            if *missing >= MISSING_MAX {
                seen.missing.remove(&id);
                self.settle(stored).await?;
            }
        }
        self.end_strangers(seen, &there, &known).await
    }

    /// Ids of runs that have not ended.
    pub(crate) async fn live_runs(&self) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        let mut range = ScanRange::prefix(tables::LIVE_RUNS, []);
        loop {
            let page = self.core().catalog().scan(&range, &Fold::default(), 256).await?;
            let next = page.next.clone();
            for row in page.rows() {
                // One text, ended by 00 01: an id has neither.
                let id = row.key.strip_suffix(&[0, 1]).unwrap_or(&row.key);
                ids.push(String::from_utf8_lossy(id).into_owned());
            }
            match next {
                Some(key) => range = range.from(key),
                None => return Ok(ids),
            }
        }
    }

    /// Decides what becomes of a run that the node does not have.
    async fn settle(&self, stored: Stored<Run>) -> Result<()> {
        let id = stored.value.id.clone();
        let lock = self.lock(&id);
        let _held = lock.lock().await;
        let Ok(Stored { value: mut run, version }) = self.load(&id).await else { return Ok(()) };
        if run.status.is_terminal() || version != stored.version {
            return Ok(());
        }
        if run.status != RunStatus::Pending {
            let message = "the run's supervisor ended without a word; nothing was exported";
            let outcome = if run.cancel_requested {
                RunOutcome::Cancelled
            } else {
                RunOutcome::Failed { reason: "SERVICE_ERROR".into(), message: message.into() }
            };
            return self.end_without_outputs(Stored { value: run, version }, &outcome).await;
        }
        if let Some(job) = run.job
            && self.core().load::<serde_json::Value>(&job_row(job)).await?.is_some()
        {
            return Ok(());
        }
        let mut commit = Commit::new();
        let job = start_job::enqueue(&self.parts.jobs, &mut commit, &id);
        run.job = Some(job);
        commit.unchanged(row(&id), version).put(row(&id), encode(&run));
        if self.core().commit(commit).await? {
            self.parts.jobs.wake(job);
        }
        Ok(())
    }

    /// Cancels what the node has and this vault does not know as live.
    async fn end_strangers(&self, seen: &mut Seen, there: &[Uuid], known: &[Uuid]) -> Result<()> {
        seen.strangers.retain(|run, _| there.contains(run) && !known.contains(run));
        for run in there.iter().filter(|run| !known.contains(run)) {
            let times = seen.strangers.entry(*run).or_default();
            *times += 1;
            let ours = row_of(tables::RUN_UUIDS, &[&run.to_string()]);
            // A run of this vault has ended; anybody else's is left in peace.
            if *times >= MISSING_MAX && self.core().load::<String>(&ours).await?.is_some() {
                self.ask_cancel(*run).await;
            }
        }
        Ok(())
    }

    /// Asks the node to end a run; the next comparison makes up for a lost question.
    pub(crate) async fn ask_cancel(&self, run: Uuid) {
        let request = AgentRequest::Cancel { run, grace_ms: CANCEL_GRACE_MS };
        if let Err(error) = self.parts.dispatch.ask(request).await {
            tracing::warn!(%run, %error, "a run could not be cancelled at its node yet");
        }
    }
}
