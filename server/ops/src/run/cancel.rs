//! CancelRun.

use readvault_exec_protocol::run::RunOutcome;
use readvault_store::catalog::Commit;

use super::{RunStatus, Runs, row};
use crate::{
    Fault, FaultKind,
    authorize::Permit,
    core::{Stored, contended, encode},
    fault::Result,
};

impl Runs {
    /// Asks run `id` to end. A run that no node has is `CANCELLED` when this returns; another one is
    /// `STOPPING` until its node has destroyed it. Durable when it returns.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` from a state in which a run can't be cancelled; those of the catalog.
    pub async fn cancel(&self, _permit: &Permit, id: &str) -> Result<()> {
        let lock = self.lock(id);
        let held = lock.lock().await;
        let Stored { value: mut run, version } = self.load(id).await?;
        if run.status.is_terminal() || run.status == RunStatus::Stopping {
            return Err(Fault::new(
                FaultKind::Conflict,
                format!("a run that is {} can't be cancelled", run.status.as_str()),
            ));
        }
        let (uuid, sent) = (run.uuid, run.attempt > 0);
        if run.status == RunStatus::Pending {
            self.end_without_outputs(Stored { value: run, version }, &RunOutcome::Cancelled)
                .await?;
        } else {
            run.cancel_requested = true;
            run.status = RunStatus::Stopping;
            let mut commit = Commit::new();
            commit.unchanged(row(id), version).put(row(id), encode(&run));
            if !self.core().commit(commit).await? {
                return Err(contended());
            }
        }
        drop(held);
        if sent {
            self.ask_cancel(uuid).await;
        }
        Ok(())
    }
}
