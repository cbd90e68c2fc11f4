//! DeleteReferenceStore.

use readvault_store::{catalog::Commit, vault::VaultCommit};

use super::{load, only_row, row};
use crate::{
    Fault, FaultKind,
    authorize::Permit,
    core::{Core, DECISIONS_MAX, contended, encode, key_of},
    fault::Result,
    kept,
    listing::any,
    tables,
};

/// Deletes the reference store `id` when it holds no reference. As for sequence stores, a mark
/// makes sure that nothing comes in meanwhile.
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
        if any(core, tables::REFERENCES, key_of(&[id])).await? {
            return Err(Fault::new(
                FaultKind::NotEmpty,
                "the reference store still holds references; delete them first",
            ));
        }
        let mut commit = VaultCommit::default();
        commit.commit.unchanged(row(id), marked.version).delete(row(id));
        commit.commit.delete(only_row(core.site()));
        kept::end(core, &mut commit, &row(id)).await?;
        if core.commit(commit).await? {
            return Ok(());
        }
    }
    Err(contended())
}
