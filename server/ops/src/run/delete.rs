//! DeleteRun: the run, its tasks and logs leave the lists. Its record stays.

use readvault_store::catalog::{Commit, RowKey};

use super::{Runs, row, spec_row};
use crate::{
    Fault, FaultKind,
    authorize::Permit,
    core::{Stored, contended},
    fault::Result,
    run_log, tables, task,
};

impl Runs {
    /// Deletes run `id`. Its record stays: who read what is not undone. Durable when it returns; dropping
    /// the future may leave some of its tasks and logs to another call.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` while the run has not ended; those of the catalog.
    pub async fn delete(&self, _permit: &Permit, id: &str) -> Result<()> {
        let lock = self.lock(id);
        let _held = lock.lock().await;
        let Stored { value: run, version } = self.load(id).await?;
        if !run.status.is_terminal() {
            return Err(Fault::new(
                FaultKind::Conflict,
                format!("a run that is {} can't be deleted; cancel it first", run.status.as_str()),
            ));
        }
        run_log::delete_run(self.core(), id, run.uuid).await?;
        for tasks in task::all(self.core(), id).await?.chunks(1000) {
            let rows: Vec<RowKey> = tasks.iter().map(|task| task::row(id, &task.id)).collect();
            let mut commit = Commit::new();
            rows.into_iter().for_each(|row| {
                commit.delete(row);
            });
            if !self.core().commit(commit).await? {
                return Err(contended());
            }
        }
        let mut commit = Commit::new();
        commit.unchanged(row(id), version).delete(row(id)).delete(spec_row(id));
        commit.delete(crate::core::row_of(tables::RUN_UUIDS, &[&run.uuid.to_string()]));
        if self.core().commit(commit).await? { Ok(()) } else { Err(contended()) }
    }
}

impl Runs {
    /// Deletes the workflow `id`. Refused while a run of it is live, which may still need its definition.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` while it is in use; those of the vault.
    pub async fn delete_workflow(&self, permit: &Permit, id: &str) -> Result<()> {
        for run in self.live_runs().await? {
            let Ok(stored) = self.load(&run).await else { continue };
            if stored.value.workflow.id == id {
                return Err(Fault::new(
                    FaultKind::Conflict,
                    format!("the run {run} of this workflow has not ended"),
                ));
            }
        }
        self.parts.workflows.delete(permit, id).await
    }
}
