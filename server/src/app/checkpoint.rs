//! Checkpoints of the catalog, now and then and on demand.

use std::{path::PathBuf, sync::Arc, time::Duration};

use readvault_ops::{Fault, core::Core, fault::Result, upkeep};
use readvault_store::checkpoints::{self, Checkpoint};

/// Writes checkpoints of one vault, one at a time. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    core: Core,
    directory: PathBuf,
    one: Arc<tokio::sync::Mutex<()>>,
}

impl Checkpoints {
    /// Checkpoints of the vault of `core` into `directory`.
    #[must_use]
    pub fn new(core: Core, directory: PathBuf) -> Self {
        Self { core, directory, one: Arc::default() }
    }

    /// Writes one. Durable when it returns.
    ///
    /// # Errors
    /// Those of the vault.
    pub async fn write(&self) -> Result<Checkpoint> {
        let _one = self.one.lock().await;
        let now = self.core.now_ms();
        let written = self.core.vault().checkpoint(&self.directory, now).await;
        let result = if written.is_ok() { "done" } else { "failed" };
        metrics::counter!("readvault_checkpoints_total", "result" => result).increment(1);
        let written = written.map_err(Fault::from)?;
        let took_ms = self.core.now_ms().saturating_sub(now);
        #[expect(clippy::cast_precision_loss, reason = "a time in seconds")]
        metrics::gauge!("readvault_checkpoint_unix_seconds").set((written.unix_ms / 1000) as f64);
        tracing::info!(version = written.version, took_ms, "a checkpoint of the catalog");
        upkeep::note(&self.core, "checkpoint", format!("version {}", written.version)).await?;
        Ok(written)
    }

    /// Writes one every `period`, the first when the newest is so old.
    pub(super) async fn run(&self, period: Duration) {
        loop {
            tokio::time::sleep(self.wait(period)).await;
            if let Err(fault) = self.write().await {
                tracing::error!(%fault, "no checkpoint could be written");
                tokio::time::sleep(period.min(Duration::from_secs(60))).await;
            }
        }
    }

    /// How long until the next is due.
    fn wait(&self, period: Duration) -> Duration {
        let newest = checkpoints::list(&self.directory).ok().and_then(|all| all.into_iter().next());
        let age = newest.map(|newest| self.core.now_ms().saturating_sub(newest.unix_ms));
        age.map_or(Duration::ZERO, |age| period.saturating_sub(Duration::from_millis(age)))
    }
}
