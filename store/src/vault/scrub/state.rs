//! How far a scrub is, so that a stop costs no more than one pack.

use serde::{Deserialize, Serialize};

use super::Scrub;
use crate::{
    Error, ErrorKind, Result,
    catalog::{Catalog, Commit, Durability, Outcome, RowKey},
    ids::PackId,
    vault::{GC, Inner},
};

/// Where the scrub that runs, or was interrupted, stands.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Standing {
    /// The last pack that was read; packs are read in the order of their ids.
    pub(super) done: Option<PackId>,
    pub(super) scrub: Scrub,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Row {
    standing: Option<Standing>,
    last: Option<Scrub>,
}

fn key() -> RowKey {
    RowKey::new(GC, "scrub")
}

async fn read(catalog: &dyn Catalog) -> Result<Row> {
    let found = catalog.read(&[key()]).await?.into_iter().next().flatten();
    let Some(found) = found else { return Ok(Row::default()) };
    serde_json::from_slice(&found.value)
        .map_err(|cause| Error::corrupt("the row of scrubs").because(cause))
}

/// Where to begin.
pub(super) async fn load(inner: &Inner, resume: bool) -> Result<Standing> {
    let standing = read(&*inner.catalog).await?.standing;
    Ok(standing.filter(|_| resume).unwrap_or_default())
}

/// Notes how far the scrub is.
pub(super) async fn keep(inner: &Inner, standing: &Standing) -> Result<()> {
    let last = read(&*inner.catalog).await?.last;
    let standing = Standing { done: standing.done, scrub: standing.scrub.clone() };
    write(inner, &Row { standing: Some(standing), last }).await
}

/// Notes that the scrub ended.
pub(super) async fn finish(inner: &Inner, scrub: &Scrub) -> Result<()> {
    write(inner, &Row { standing: None, last: Some(scrub.clone()) }).await
}

async fn write(inner: &Inner, row: &Row) -> Result<()> {
    let value = serde_json::to_vec(row)
        .map_err(|cause| Error::new(ErrorKind::Internal, "the row of scrubs").because(cause))?;
    let mut commit = Commit { durability: Durability::Ordered, ..Commit::new() };
    commit.put(key(), value);
    match inner.catalog.commit(commit).await? {
        Outcome::Applied { .. } => Ok(()),
        Outcome::Conflict(_) | Outcome::Unknown => {
            Err(Error::new(ErrorKind::Unavailable, "the row of scrubs"))
        }
    }
}

impl Inner {
    /// What the last finished scrub found; none when there was none.
    pub(in crate::vault) async fn last_scrub(&self) -> Result<Option<Scrub>> {
        Ok(read(&*self.catalog).await?.last)
    }
}
