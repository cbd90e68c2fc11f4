//! UpdateWorkflow: name, description, storage defaults and README; never the definition.

use readvault_store::vault::VaultCommit;

use super::{
    Workflows,
    create::{README_BYTES_MAX, check_storage},
    row,
};
use crate::{
    Fault,
    authorize::Permit,
    core::{DECISIONS_MAX, contended, encode},
    fault::Result,
    run::uri::check_text,
};

/// What is changed of a workflow; what is none stays.
#[derive(Clone, Debug, Default)]
pub struct UpdateWorkflow {
    /// Its name.
    pub name: Option<String>,
    /// What it does.
    pub description: Option<String>,
    /// `STATIC` or `DYNAMIC`.
    pub storage_type: Option<String>,
    /// GiB.
    pub storage_capacity: Option<u32>,
    /// README, Markdown.
    pub readme: Option<String>,
}

impl Workflows {
    /// Changes the workflow `id`. Atomic and durable when it returns.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument`; those of the catalog.
    pub async fn update(&self, _permit: &Permit, id: &str, change: &UpdateWorkflow) -> Result<()> {
        check_text("name", change.name.as_deref(), 128)?;
        check_text("description", change.description.as_deref(), 256)?;
        check_storage(change.storage_type.as_deref(), change.storage_capacity)?;
        if change.readme.as_ref().is_some_and(|readme| readme.len() > README_BYTES_MAX) {
            return Err(Fault::invalid("readmeMarkdown is above 500 KiB"));
        }
        for _ in 0..DECISIONS_MAX {
            let stored = self.load(id).await?;
            let mut workflow = stored.value;
            let changed = change.clone();
            workflow.name = changed.name.or(workflow.name);
            workflow.description = changed.description.or(workflow.description);
            workflow.storage_type = changed.storage_type.or(workflow.storage_type);
            workflow.storage_capacity = changed.storage_capacity.or(workflow.storage_capacity);
            workflow.readme = changed.readme.or(workflow.readme);
            let mut commit = VaultCommit::default();
            commit.commit.unchanged(row(id), stored.version).put(row(id), encode(&workflow));
            workflow.keep(&self.core, &mut commit).await?;
            if self.core.commit(commit).await? {
                return Ok(());
            }
        }
        Err(contended())
    }
}
