//! ListRuns.

use super::{Run, RunStatus, Runs};
use crate::{
    authorize::Permit,
    fault::Result,
    listing::{Page, PageOf, page},
    tables,
};

/// Which runs a list holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Runs of exactly this name.
    pub name: Option<String>,
    /// Runs in this state.
    pub status: Option<RunStatus>,
}

impl Runs {
    /// A page of runs, oldest first.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn list(
        &self,
        _permit: &Permit,
        filter: &RunFilter,
        of: &PageOf,
    ) -> Result<Page<Run>> {
        let keep = |run: &Run| {
            filter.status.is_none_or(|status| run.status == status)
                && (filter.name.is_none() || filter.name == run.name)
        };
        page(self.core(), (tables::RUNS, Vec::new()), of, keep).await
    }
}
