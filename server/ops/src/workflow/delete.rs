//! DeleteWorkflow. Runs keep what they need of the definition as long as they live.

use readvault_store::{
    catalog::Commit,
    vault::{Removal, VaultCommit},
};

use super::{Workflows, row};
use crate::{
    authorize::Permit,
    core::{DECISIONS_MAX, contended},
    fault::Result,
    kept,
};

impl Workflows {
    /// Ends the workflow `id`, its definition included. Runs that have read it go on. Durable when it
    /// returns.
    ///
    /// # Errors
    /// `NotFound`; those of the vault.
    pub async fn delete(&self, _permit: &Permit, id: &str) -> Result<()> {
        for _ in 0..DECISIONS_MAX {
            let stored = self.load(id).await?;
            let definition = stored.value.definition;
            let mut commit = Commit::new();
            commit.unchanged(row(id), stored.version).delete(row(id));
            let removal = Removal { item: definition.item.id, files: vec![definition.file] };
            let mut commit = VaultCommit { commit, files: Vec::new(), removes: vec![removal] };
            kept::end(&self.core, &mut commit, &row(id)).await?;
            if self.core.commit(commit).await? {
                return Ok(());
            }
        }
        Err(contended())
    }
}
