//! The one row of GC: which epoch it is, and how the last cycle ended.

use serde::{Deserialize, Serialize};

use super::Cycle;
use crate::{
    Error, ErrorKind, Result,
    catalog::{Catalog, Commit, Outcome, RowKey},
    vault::{GC, Inner},
};

/// The epoch of a vault that never collected; 0 is the epoch of quarantined rows.
const FIRST_EPOCH: u32 = 1;

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    epoch: u32,
    last: Option<Cycle>,
}

/// The right to drop rows: it ends when another cycle begins.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) epoch: u32,
    /// Version of the row that the epoch was raised in; none in a dry run.
    pub(super) version: Option<u64>,
}

impl Lease {
    /// Adds the check that no other cycle began.
    pub(super) fn guard(&self, commit: &mut Commit) {
        if let Some(version) = self.version {
            commit.unchanged(row(), version);
        }
    }
}

fn row() -> RowKey {
    RowKey::new(GC, "state")
}

async fn load(catalog: &dyn Catalog) -> Result<(State, Option<u64>)> {
    let Some(row) = catalog.read(&[row()]).await?.into_iter().next().flatten() else {
        return Ok((State { epoch: FIRST_EPOCH, last: None }, None));
    };
    let state = serde_json::from_slice(&row.value);
    let state = state.map_err(|cause| Error::corrupt("the row of GC").because(cause))?;
    Ok((state, Some(row.version)))
}

/// The current epoch.
pub(in crate::vault) async fn epoch(catalog: &dyn Catalog) -> Result<u32> {
    Ok(load(catalog).await?.0.epoch)
}

/// Begins a cycle by the next epoch.
pub(super) async fn raise(inner: &Inner) -> Result<Lease> {
    let (state, version) = load(&*inner.catalog).await?;
    let state = State { epoch: state.epoch + 1, ..state };
    let version = write(inner, &state, version).await?;
    Ok(Lease { epoch: state.epoch, version: Some(version) })
}

impl Inner {
    /// Keeps what the cycle of `lease` did.
    pub(super) async fn note(&self, lease: &Lease, cycle: &Cycle) -> Result<()> {
        let state = State { epoch: lease.epoch, last: Some(cycle.clone()) };
        write(self, &state, lease.version).await.map(drop)
    }

    /// What the last cycle did; none when there was none.
    pub(in crate::vault) async fn last_cycle(&self) -> Result<Option<Cycle>> {
        Ok(load(&*self.catalog).await?.0.last)
    }
}

async fn write(inner: &Inner, state: &State, version: Option<u64>) -> Result<u64> {
    let value = serde_json::to_vec(state)
        .map_err(|cause| Error::new(ErrorKind::Internal, "the row of GC").because(cause))?;
    let mut commit = Commit::new();
    match version {
        Some(version) => commit.unchanged(row(), version),
        None => commit.absent(row()),
    };
    commit.put(row(), value);
    match inner.catalog.commit(commit).await? {
        Outcome::Applied { version } => Ok(version),
        Outcome::Conflict(_) | Outcome::Unknown => {
            Err(Error::new(ErrorKind::Unavailable, "another GC cycle began"))
        }
    }
}
