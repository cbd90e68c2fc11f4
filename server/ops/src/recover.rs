//! Writing the server's rows again from what the packs tell: the last step of a rebuild.
//!
//! First the rows that are there are compared with the manifests that are visible: what names a file that
//! ended since goes. Then every visible file that no row names is opened: an object writes its row, a
//! copy of rows writes those. What nothing names in the end is left out. Offline, over a vault that
//! appends nothing.

mod copies;
mod ids;
mod named;
mod objects;
mod remove;

use std::collections::HashSet;

use futures::{StreamExt, stream};
use readvault_store::{
    ErrorKind,
    catalog::{Commit, Durability, limits},
    ids::ManifestId,
    vault::{FileRole, ItemKind, rebuild::Found, rebuild::Rebuild},
};
use serde::{Deserialize, Serialize};

pub use ids::NUMBERS_LEFT_OUT;

use crate::{
    Fault,
    core::{Core, Stored, encode, row_of},
    fault::Result,
    jobs::Jobs,
    tables,
};

/// Files that are opened at once.
const OPEN_AT_ONCE: usize = 16;

/// Rows that one commit writes.
const ROWS_AT_ONCE: usize = 512;

/// Bytes of rows above which a commit is closed: with the largest copy behind them below its limit.
const BYTES_AT_ONCE: usize = 128 << 10;

/// What a recovery did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Objects whose rows were written.
    pub objects: u64,
    /// Read sets, references, stores, buckets and workflows whose rows were written.
    pub others: u64,
    /// Rows that were taken out, because what they name has ended.
    pub ended: u64,
    /// Visible files that nothing names: parts of uploads, and what a lost commit named.
    pub left_out: u64,
    /// Files whose key was erased.
    pub erased: u64,
    /// Files that can't be read, or say nothing that is known here.
    pub unreadable: u64,
}

/// That a vault was rebuilt without a catalog, as its row holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unaccepted {
    /// Milliseconds since 1970 at which it was rebuilt.
    pub rebuilt_ms: u64,
}

/// Where the recovery stands.
struct Recovery<'a> {
    rebuild: &'a Rebuild,
    core: &'a Core,
    jobs: Jobs,
    done: Recovered,
    /// Rows that the next commit writes.
    pending: Commit,
    claimed: HashSet<ManifestId>,
    waiting: Vec<ManifestId>,
    taken: Vec<(String, u64)>,
}

/// Writes the rows again. Durable when it returns; may run again.
///
/// # Errors
/// Those of the catalog. What can't be opened is counted and left out.
pub async fn recover(rebuild: &Rebuild, core: &Core) -> Result<Recovered> {
    let mut recovery = Recovery {
        rebuild,
        core,
        jobs: Jobs::new(core.clone()),
        done: Recovered::default(),
        pending: Commit::new(),
        claimed: HashSet::new(),
        waiting: Vec::new(),
        taken: Vec::new(),
    };
    let named = recovery.compare().await?;
    recovery.take_all(&named).await?;
    recovery.flush().await?;
    recovery.leave_out().await?;
    recovery.raise_ids().await?;
    Ok(recovery.done)
}

impl Recovery<'_> {
    /// Opens every visible file that none of `named` is, and takes it in.
    async fn take_all(&mut self, named: &[ManifestId]) -> Result<()> {
        let mut after = None;
        loop {
            let page = self.rebuild.visible(after).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(*last);
            let new = page.into_iter().filter(|id| named.binary_search(id).is_err());
            let rebuild = self.rebuild;
            let opened = new.map(|id| async move { (id, rebuild.open(id).await) });
            let mut opened = stream::iter(opened).buffered(OPEN_AT_ONCE);
            while let Some((id, found)) = opened.next().await {
                match found {
                    Ok(found) => self.take(found).await?,
                    Err(cause) => self.skip(id, &cause)?,
                }
            }
        }
    }

    async fn take(&mut self, found: Found) -> Result<()> {
        match (found.item.kind, found.role) {
            (ItemKind::Object, FileRole::Object) => self.take_object(found).await,
            (_, FileRole::Record) => self.take_copies(found).await,
            _ => {
                self.waiting.push(found.file.manifest);
                Ok(())
            }
        }
    }

    /// Writes the rows that wait when they are enough for a commit.
    async fn written(&mut self) -> Result<()> {
        let pending = &self.pending;
        if pending.writes.len() < ROWS_AT_ONCE && limits::bytes_of(pending) < BYTES_AT_ONCE {
            return Ok(());
        }
        self.flush().await
    }

    /// Writes the rows that wait; durable with the next synced commit, which ends every recovery.
    async fn flush(&mut self) -> Result<()> {
        let mut commit = std::mem::take(&mut self.pending);
        commit.durability = Durability::Ordered;
        self.core.commit(commit).await.map(drop)
    }

    fn skip(&mut self, id: ManifestId, cause: &readvault_store::Error) -> Result<()> {
        match cause.kind() {
            ErrorKind::KeyUnavailable => self.done.erased += 1,
            ErrorKind::Corrupt | ErrorKind::NotFound => {
                tracing::error!(manifest = %id, %cause, "a file can't be opened");
                self.done.unreadable += 1;
            }
            kind => return Err(Fault::internal(format!("a file can't be opened now: {kind:?}"))),
        }
        self.waiting.push(id);
        Ok(())
    }

    /// Takes out the manifests that nothing names.
    async fn leave_out(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let left: Vec<_> = waiting.into_iter().filter(|id| !self.claimed.contains(id)).collect();
        self.done.left_out = (left.len() as u64)
            .saturating_sub(self.done.erased)
            .saturating_sub(self.done.unreadable);
        Ok(self.rebuild.leave_out(&left).await?)
    }
}

fn unaccepted_row() -> readvault_store::catalog::RowKey {
    row_of(tables::TOKENS, &["rebuilt-without-a-catalog"])
}

/// Notes that this vault was rebuilt without a catalog: [`unaccepted`] tells so until [`accept`].
///
/// # Errors
/// Those of the catalog.
pub async fn demand_acceptance(core: &Core) -> Result<()> {
    let mut commit = Commit::new();
    commit.put(unaccepted_row(), encode(&Unaccepted { rebuilt_ms: core.now_ms() }));
    core.commit(commit).await.map(drop)
}

/// Whether this vault was rebuilt without a catalog and nobody accepted that yet.
///
/// # Errors
/// Those of the catalog.
pub async fn unaccepted(core: &Core) -> Result<Option<Unaccepted>> {
    let found: Option<Stored<Unaccepted>> = core.load(&unaccepted_row()).await?;
    Ok(found.map(|found| found.value))
}

/// Accepts a rebuild without a catalog. Durable when it returns; idempotent.
///
/// # Errors
/// Those of the catalog.
pub async fn accept(core: &Core) -> Result<()> {
    let mut commit = Commit::new();
    commit.delete(unaccepted_row());
    core.commit(commit).await.map(drop)
}
