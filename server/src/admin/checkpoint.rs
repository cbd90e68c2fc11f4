//! `readvaultd checkpoint`: a checkpoint of the catalog, now.

use async_trait::async_trait;
use clap::Args;
use readvault_ops::fault::Result;
use serde::{Deserialize, Serialize};

use super::{Answer, Call, Command, Desk};

/// Writes a checkpoint of the catalog now.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub struct Checkpoint {}

#[derive(Serialize)]
struct Written {
    path: String,
    version: u64,
    unix_ms: u64,
}

#[async_trait]
impl Command for Checkpoint {
    fn action(&self) -> &'static str {
        "readvault:Checkpoint"
    }

    async fn run(&self, desk: &Desk, _call: &Call) -> Result<Answer> {
        let checkpoints = desk.checkpoints.clone();
        // A client that goes away must not leave half a checkpoint behind.
        let written = tokio::spawn(async move { checkpoints.write().await });
        let written = written.await.map_err(|cause| {
            readvault_ops::Fault::internal("the checkpoint was cut short").because(cause)
        })??;
        let name = written.path.file_name().map(|name| name.to_string_lossy().into_owned());
        let path = format!("checkpoints/{}", name.unwrap_or_default());
        let text = format!("{path} holds commit {}", written.version);
        Ok(Answer::new(text, &Written { path, version: written.version, unix_ms: written.unix_ms }))
    }
}
