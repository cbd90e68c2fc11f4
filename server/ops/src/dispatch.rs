//! Hands runs to the agent of a node, and keeps what the catalog says of them true.

pub mod reconcile;
pub mod start_job;

use std::fmt;

use async_trait::async_trait;
use readvault_exec_protocol::agent::{AgentReply, AgentRequest};
use readvault_store::catalog::RowKey;
use sha2::{Digest, Sha256};

use crate::tables;

/// Why an agent did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node's agent is not at hand: {0}")]
pub struct DispatchError(pub String);

/// The agent of a node. One question, one answer; a refusal is an answer.
#[async_trait]
pub trait RunDispatch: Send + Sync + fmt::Debug {
    /// Asks the agent. After an error the agent may or may not have done as asked; every question may be
    /// asked again.
    ///
    /// # Errors
    /// [`DispatchError`] when no answer came.
    async fn ask(&self, request: AgentRequest) -> Result<AgentReply, DispatchError>;
}

/// A server without runs: every question is answered by why.
#[derive(Clone, Debug)]
pub struct NoAgent(pub String);

#[async_trait]
impl RunDispatch for NoAgent {
    async fn ask(&self, _request: AgentRequest) -> Result<AgentReply, DispatchError> {
        Err(DispatchError(self.0.clone()))
    }
}

/// SHA-256 of a token, as a run's row keeps it.
pub(crate) fn token_digest(token: &str) -> String {
    hex::encode(Sha256::digest(token))
}

/// The row of a job; the run's row names it.
pub(crate) fn job_row(id: uuid::Uuid) -> RowKey {
    RowKey::new(tables::JOBS, id.as_bytes().as_slice())
}
