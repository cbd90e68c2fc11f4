//! When each piece of upkeep (garbage collection, scrub, checkpoint, …) last ended, and how.

use readvault_store::catalog::{Commit, RowKey};
use serde::{Deserialize, Serialize};

use crate::{
    core::{Core, encode},
    fault::Result,
    listing::{self, PageOf},
    tables,
};

/// Most pieces of upkeep that are told of.
const PIECES_MAX: usize = 64;

/// How a piece of upkeep last ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its name: `gc`, `scrub`.
    pub name: String,
    /// Milliseconds since 1970 at which it ended.
    pub ended_ms: u64,
    /// What it did, in a few words.
    pub summary: String,
}

/// Notes that the piece of upkeep `name` ended now.
///
/// # Errors
/// Those of the catalog.
pub async fn note(core: &Core, name: &str, summary: impl Into<String>) -> Result<()> {
    let ended = Ended { name: name.to_owned(), ended_ms: core.now_ms(), summary: summary.into() };
    let mut commit = Commit::new();
    commit.put(RowKey::new(tables::UPKEEP, name), encode(&ended));
    core.commit(commit).await?;
    Ok(())
}

/// The pieces of upkeep that ever ended, by name.
///
/// # Errors
/// Those of the catalog.
pub async fn last(core: &Core) -> Result<Vec<Ended>> {
    let of = PageOf { limit: PIECES_MAX, after: None };
    let page = listing::page(core, (tables::UPKEEP, Vec::new()), &of, |_: &Ended| true).await?;
    Ok(page.items)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use readvault_ambient::System;

    use super::*;
    use crate::core::Site;

    #[tokio::test]
    async fn the_last_end_of_each_piece_is_told() {
        let site = Site { account: "123456789012".into(), region: "us-east-1".into() };
        let vault = readvault_store::testing::vault().await;
        let core = Core::new(vault, site, Arc::new(System), Arc::new(System));
        note(&core, "scrub", "1 pack").await.unwrap();
        note(&core, "gc", "nothing").await.unwrap();
        note(&core, "scrub", "2 packs").await.unwrap();
        let told = last(&core).await.unwrap();
        let told: Vec<_> = told.iter().map(|ended| (&*ended.name, &*ended.summary)).collect();
        assert_eq!(told, [("gc", "nothing"), ("scrub", "2 packs")]);
    }
}
