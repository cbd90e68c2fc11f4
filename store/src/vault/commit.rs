//! The one way by which anything becomes visible or ends.

use super::{FileRef, Inner, Staged, manifest_row, reassert::reassert};
use crate::{
    Error, ErrorKind, Result,
    catalog::{Commit, Outcome, RowKey},
    ids::{ItemId, ManifestId},
    pack::{Batch, Tombstone},
};

/// An item that ends with a commit: its tombstone and the voids of its manifests are made durable before
/// the commit, the rows of these are dropped by it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Removal {
    /// The item.
    pub item: ItemId,
    /// Its files, as the row that is removed or replaced names them; all of one store, never none.
    pub files: Vec<FileRef>,
}

/// What becomes visible, and what ends, by one commit.
#[derive(Debug, Default)]
pub struct VaultCommit {
    /// The caller's checks and rows; they must name every file and no longer name what is removed.
    pub commit: Commit,
    /// Files that become visible.
    pub files: Vec<Staged>,
    /// Items that end.
    pub removes: Vec<Removal>,
}

impl From<Commit> for VaultCommit {
    fn from(commit: Commit) -> Self {
        Self { commit, ..Self::default() }
    }
}

/// What became of a vault commit that did not fail.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Committed {
    /// It applied, and all its files are visible.
    Applied {
        /// Version that its rows now bear.
        version: u64,
    },
    /// A check failed; its files are void and nothing changed.
    Conflict(RowKey),
}

pub(super) async fn commit(inner: &Inner, commit: VaultCommit) -> Result<Committed> {
    let VaultCommit { mut commit, files, removes } = commit;
    for staged in &files {
        commit.put(manifest_row(staged.file().manifest), staged.row().encode());
    }
    for file in removes.iter().flat_map(|removal| &removal.files) {
        commit.delete(manifest_row(file.manifest));
    }
    // Until the outcome is known: a compaction takes a void of what is visible for one that was taken back.
    let _appending = inner.in_flight.appending();
    let copies = inner.in_flight.copies();
    bury(inner, &removes).await?;
    let committed = apply(inner, commit, &files, &removes).await;
    if matches!(committed, Ok(Committed::Applied { .. })) && inner.in_flight.copies() != copies {
        // Manifests moved between their void and their end. That stands; what this can't say, the settling of
        // the pack does.
        let said = inner.void(ended(&removes)).await;
        said.unwrap_or_else(|cause| tracing::warn!(%cause, "an end was not said again"));
    }
    // Also when it may have applied: what is still there is opened again.
    for file in removes.iter().flat_map(|removal| &removal.files) {
        inner.manifests.forget(file.manifest);
    }
    committed
}

/// Commits, and takes back what the packs say of a commit that did not apply.
async fn apply(
    inner: &Inner,
    commit: Commit,
    files: &[Staged],
    removes: &[Removal],
) -> Result<Committed> {
    files.iter().for_each(|staged| staged.hold().committing());
    let outcome = inner.catalog.commit(commit).await;
    if !matches!(outcome, Ok(Outcome::Unknown)) {
        files.iter().for_each(|staged| staged.hold().settled());
    }
    match outcome {
        Ok(Outcome::Applied { version }) => {
            inner.chunks.acknowledge(version);
            Ok(Committed::Applied { version })
        }
        Ok(Outcome::Conflict(row)) => {
            take_back(inner, files, removes).await?;
            Ok(Committed::Conflict(row))
        }
        Ok(Outcome::Unknown) => settle(inner, files, removes).await,
        Err(cause) => {
            // A refusal before anything was written; the next start does what this can't.
            let _ = take_back(inner, files, removes).await;
            Err(cause)
        }
    }
}

/// Makes the end of `removes` durable in the packs. Where the commit does not follow, [`take_back`] or the
/// next start appends the manifests again: a rebuild goes by the last that the packs say of each.
async fn bury(inner: &Inner, removes: &[Removal]) -> Result<()> {
    let tombstones = removes.iter().filter_map(|removal| {
        Some(Tombstone { store: removal.files.first()?.store, item: removal.item })
    });
    let tombstones: Vec<_> = tombstones.collect();
    if tombstones.is_empty() {
        return Ok(());
    }
    let batch = Batch { tombstones, voids: ended(removes), ..Batch::default() };
    let _durable = inner.chunks.append(batch).await?;
    Ok(())
}

/// Makes the packs say again what holds after a commit that did not apply.
async fn take_back(inner: &Inner, files: &[Staged], removes: &[Removal]) -> Result<()> {
    inner.void(files.iter().map(|staged| staged.file().manifest).collect()).await?;
    reassert(inner, &ended(removes)).await
}

fn ended(removes: &[Removal]) -> Vec<ManifestId> {
    removes.iter().flat_map(|removal| &removal.files).map(|file| file.manifest).collect()
}

/// Finds out what became of a commit whose outcome the backend does not know. The commit of this writer's
/// own row comes after it, so what is not there then will never be.
async fn settle(inner: &Inner, files: &[Staged], removes: &[Removal]) -> Result<Committed> {
    let unknown = || Error::new(ErrorKind::Unavailable, "the outcome of a commit is not known");
    let mut fence = Commit::new();
    fence.put(RowKey::new(super::WRITERS, inner.writer.0), bytes::Bytes::new());
    let Ok(Outcome::Applied { .. }) = inner.catalog.commit(fence).await else {
        return Err(unknown());
    };
    let Some(first) = files.first() else {
        // What it was to end is visible still when it did not apply.
        reassert(inner, &ended(removes)).await?;
        return Err(unknown());
    };
    let row = manifest_row(first.file().manifest);
    let found = inner.catalog.read(&[row]).await?.into_iter().next().flatten();
    files.iter().for_each(|staged| staged.hold().settled());
    if let Some(row) = found {
        inner.chunks.acknowledge(row.version);
        return Ok(Committed::Applied { version: row.version });
    }
    take_back(inner, files, removes).await?;
    Err(unknown())
}
