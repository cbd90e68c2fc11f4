//! Speaks to the node's agent over its unix socket: one connection a question.

use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;
use readvault_exec_protocol::{
    PROTOCOL_VERSION,
    agent::{AgentReply, AgentRequest},
    frame::{read_frame, write_frame},
};
use readvault_ops::dispatch::{DispatchError, RunDispatch};
use tokio::{net::UnixStream, time::timeout};

/// Time that an agent has for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Time that an agent has to import an image.
const IMPORT_MAX: Duration = Duration::from_secs(30 * 60);

/// The agent behind a unix socket. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AgentClient {
    socket: PathBuf,
}

impl AgentClient {
    /// The agent that listens on `socket`; nothing is connected yet.
    #[must_use]
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    async fn converse(&self, request: &AgentRequest) -> Result<AgentReply, DispatchError> {
        let mut stream = UnixStream::connect(&self.socket).await.map_err(unanswered)?;
        let peer = stream.peer_cred().map_err(unanswered)?.uid();
        // Only root may pose as the agent; a server that is not root itself may also be tried alone.
        if peer != 0 && peer != nix::unistd::geteuid().as_raw() {
            return Err(DispatchError("whoever listens on its socket is not root".into()));
        }
        match exchange(&mut stream, &AgentRequest::Hello { version: PROTOCOL_VERSION }).await? {
            AgentReply::Hello { version: PROTOCOL_VERSION } => exchange(&mut stream, request).await,
            AgentReply::Refused { reason } => Err(DispatchError(reason)),
            _ => Err(DispatchError("it speaks another version".into())),
        }
    }
}

fn unanswered(cause: impl std::fmt::Display) -> DispatchError {
    DispatchError(cause.to_string())
}

async fn exchange(
    stream: &mut UnixStream,
    request: &AgentRequest,
) -> Result<AgentReply, DispatchError> {
    write_frame(stream, request, &[]).await.map_err(unanswered)?;
    match read_frame::<_, AgentReply>(stream).await.map_err(unanswered)? {
        Some((reply, _)) => Ok(reply),
        None => Err(DispatchError("it ended the conversation".into())),
    }
}

#[async_trait]
impl RunDispatch for AgentClient {
    async fn ask(&self, request: AgentRequest) -> Result<AgentReply, DispatchError> {
        let limit = match request {
            AgentRequest::ImportImage { .. } | AgentRequest::AddEngine { .. } => IMPORT_MAX,
            _ => ANSWER_MAX,
        };
        match timeout(limit, self.converse(&request)).await {
            Ok(answer) => answer,
            Err(_) => Err(DispatchError("it gave no answer in time".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn asks_and_says_why_it_got_no_answer() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("agent.sock");
        let client = AgentClient::new(socket.clone());
        client.ask(AgentRequest::List).await.unwrap_err();
        let listener = UnixListener::bind(&socket).unwrap();
        let agent = tokio::spawn(async move {
            for version in [PROTOCOL_VERSION, PROTOCOL_VERSION + 1] {
                let (mut stream, _) = listener.accept().await.unwrap();
                while let Some((request, _)) =
                    read_frame::<_, AgentRequest>(&mut stream).await.unwrap()
                {
                    let reply = match request {
                        AgentRequest::Hello { .. } => AgentReply::Hello { version },
                        AgentRequest::List => AgentReply::Runs { runs: Vec::new() },
                        _ => AgentReply::Refused { reason: "no".into() },
                    };
                    write_frame(&mut stream, &reply, &[]).await.unwrap();
                }
            }
        });
        let reply = client.ask(AgentRequest::List).await.unwrap();
        assert!(matches!(reply, AgentReply::Runs { runs } if runs.is_empty()));
        client.ask(AgentRequest::List).await.unwrap_err();
        agent.await.unwrap();
    }
}
