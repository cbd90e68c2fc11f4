//! The job that hands a run to a node: a new token and fence each time, sent only while the run waits.

use std::time::Duration;

use async_trait::async_trait;
use readvault_exec_protocol::{
    agent::{AgentReply, AgentRequest, RunTicket},
    run::RunOutcome,
};
use readvault_store::catalog::Commit;
use serde_json::json;

use super::token_digest;
use crate::{
    Fault,
    core::{Stored, encode},
    fault::Result,
    jobs::{Attempt, Claim, JobHandler, Jobs},
    run::{Run, RunStatus, Runs, row},
};

/// Kind of the job.
pub const KIND: &str = "run";

/// Adds to `commit` the job that hands run `id` to a node.
pub(crate) fn enqueue(jobs: &Jobs, commit: &mut Commit, id: &str) -> uuid::Uuid {
    jobs.enqueue(commit, KIND, json!({ "run": id }))
}

/// Hands runs to the node's agent.
#[derive(Clone, Debug)]
pub struct StartRunJob {
    runs: Runs,
}

impl StartRunJob {
    /// The handler over `runs`.
    #[must_use]
    pub fn new(runs: Runs) -> Self {
        Self { runs }
    }

    /// Ends the job; the run's row stays as it is.
    async fn done(&self, claim: &Claim) -> Result<Attempt> {
        let mut commit = Commit::new();
        claim.end(&mut commit);
        let _ = self.runs.core().commit(commit).await?;
        Ok(Attempt::Ended)
    }

    /// Ends the job and the run.
    async fn fail(&self, claim: &Claim, id: &str, message: String) -> Result<Attempt> {
        let outcome = RunOutcome::Failed { reason: "SERVICE_ERROR".into(), message };
        self.runs.end_unstarted(id, &outcome).await?;
        self.done(claim).await
    }

    /// Writes a new token and fence into the run's row, and makes the ticket of them.
    async fn ticket(&self, claim: &Claim, stored: Stored<Run>) -> Result<Option<RunTicket>> {
        let core = self.runs.core();
        let mut run = stored.value;
        let secret: [u8; 32] = readvault_ambient::random(core.entropy());
        let token = format!("{}.{}", run.id, hex::encode(secret));
        run.attempt += 1;
        run.token_sha256 = Some(token_digest(&token));
        let mut commit = Commit::new();
        claim.guard(&mut commit);
        commit.unchanged(row(&run.id), stored.version).put(row(&run.id), encode(&run));
        self.runs.forget(&run.id);
        if !core.commit(commit).await? {
            return Ok(None);
        }
        Ok(Some(RunTicket {
            run: run.uuid,
            attempt: run.attempt,
            token,
            server: self.runs.parts.settings.server_socket.clone(),
            resources: run.resources,
        }))
    }
}

#[async_trait]
impl JobHandler for StartRunJob {
    fn kind(&self) -> &'static str {
        KIND
    }

    async fn run(&self, claim: &Claim) -> Result<Attempt> {
        let Some(id) = claim.job.spec["run"].as_str() else {
            return Err(Fault::internal("the job names no run"));
        };
        let lock = self.runs.lock(id);
        let _held = lock.lock().await;
        let stored = self.runs.load(id).await?;
        if stored.value.status != RunStatus::Pending {
            return self.done(claim).await;
        }
        let dispatch = &self.runs.parts.dispatch;
        // A ticket of an earlier attempt may have arrived although its answer did not.
        if stored.value.attempt > 0
            && let Ok(AgentReply::Runs { runs }) = dispatch.ask(AgentRequest::List).await
            && runs.contains(&stored.value.uuid)
        {
            return self.done(claim).await;
        }
        let Some(ticket) = self.ticket(claim, stored).await? else {
            return Ok(Attempt::Again(Duration::from_millis(100)));
        };
        match dispatch.ask(AgentRequest::Start(Box::new(ticket))).await {
            Ok(AgentReply::Done) => self.done(claim).await,
            Ok(AgentReply::Refused { reason }) => {
                self.fail(claim, id, format!("the node refused the run: {reason}")).await
            }
            Ok(_) => self.fail(claim, id, "the node's answer was not understood".into()).await,
            Err(error) if claim.last_attempt() => self.fail(claim, id, error.to_string()).await,
            Err(error) => {
                Err(Fault::new(crate::FaultKind::SlowDown, error.to_string()).because(error))
            }
        }
    }
}
