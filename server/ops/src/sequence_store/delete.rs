//! DeleteSequenceStore.

use readvault_store::{catalog::Commit, vault::VaultCommit};

use super::{load, row};
use crate::{
    Fault, FaultKind,
    authorize::Permit,
    bucket,
    core::{Core, DECISIONS_MAX, contended, encode, key_of},
    fault::Result,
    kept,
    listing::any,
    tables,
};

/// Deletes the sequence store `id` and its alias bucket, when it holds no read set and no upload.
///
/// Marks the row first: whatever is put in meanwhile takes the mark away, and the deletion starts
/// over.
///
/// # Errors
/// `NotFound`; `NotEmpty`; `SlowDown` when the store keeps changing.
pub async fn delete(core: &Core, _permit: &Permit, id: &str) -> Result<()> {
    for _ in 0..DECISIONS_MAX {
        let mut stored = load(core, id).await?;
        stored.value.closing = true;
        let mut mark = Commit::new();
        mark.unchanged(row(id), stored.version).put(row(id), encode(&stored.value));
        if !core.commit(mark).await? {
            continue;
        }
        let marked = load(core, id).await?;
        if !marked.value.closing {
            continue;
        }
        for table in [tables::READ_SETS, tables::READ_SET_UPLOADS] {
            if any(core, table, key_of(&[id])).await? {
                return Err(Fault::new(
                    FaultKind::NotEmpty,
                    "the sequence store still holds read sets or uploads; delete them first",
                ));
            }
        }
        let mut commit = VaultCommit::default();
        commit.commit.unchanged(row(id), marked.version).delete(row(id));
        commit.commit.delete(bucket::row(&marked.value.alias));
        kept::end(core, &mut commit, &row(id)).await?;
        if core.commit(commit).await? {
            return Ok(());
        }
    }
    Err(contended())
}
