//! ListWorkflows.

use super::{Workflow, Workflows};
use crate::{
    authorize::Permit,
    fault::Result,
    listing::{Page, PageOf, page},
    tables,
};

impl Workflows {
    /// A page of workflows, oldest first; with `name`, those of exactly that name.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn list(
        &self,
        _permit: &Permit,
        name: Option<&str>,
        of: &PageOf,
    ) -> Result<Page<Workflow>> {
        let keep = |workflow: &Workflow| name.is_none_or(|n| workflow.name.as_deref() == Some(n));
        page(&self.core, (tables::WORKFLOWS, Vec::new()), of, keep).await
    }
}
