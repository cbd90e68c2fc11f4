//! DeleteReference.

use readvault_store::{
    catalog::{Commit, Fold, ScanRange},
    vault::{Removal, VaultCommit},
};

use super::{Reference, ReferenceStatus, load, row};
use crate::{
    Fault, FaultKind,
    authorize::Permit,
    core::{Core, DECISIONS_MAX, Stored, contended, decode, encode},
    fault::Result,
    kept,
    read_set::index::uses_reference,
    sequence_store::SequenceStore,
    tables,
};

/// Stores of one scan.
const STORES: usize = 256;

/// Deletes the reference `id` of `store` when no read set uses it. While it is looked for, the
/// reference is
/// `DELETING` and nothing new may refer to it.
///
/// # Errors
/// `NotFound`; `Conflict` when a read set uses it; those of the vault.
pub async fn delete(core: &Core, _permit: &Permit, store: &str, id: &str) -> Result<()> {
    for _ in 0..DECISIONS_MAX {
        let stored = load(core, store, id).await?;
        let arn = stored.value.arn(core.site());
        if !mark(core, &stored, ReferenceStatus::Deleting).await? {
            continue;
        }
        let marked = load(core, store, id).await?;
        if used(core, &arn).await? {
            mark(core, &marked, ReferenceStatus::Active).await?;
            return Err(Fault::new(FaultKind::Conflict, "a read set uses this reference"));
        }
        let reference = &marked.value;
        let mut files = vec![reference.source.file.clone(), reference.sequences.clone()];
        files.extend(reference.index.as_ref().map(|index| index.file.clone()));
        let mut commit = Commit::new();
        commit.unchanged(row(store, id), marked.version).delete(row(store, id));
        let removes = vec![Removal { item: reference.item.id, files }];
        let mut commit = VaultCommit { commit, files: Vec::new(), removes };
        kept::end(core, &mut commit, &row(store, id)).await?;
        if core.commit(commit).await? {
            return Ok(());
        }
    }
    Err(contended())
}

pub(crate) async fn mark(
    core: &Core,
    stored: &Stored<Reference>,
    status: ReferenceStatus,
) -> Result<bool> {
    let key = row(&stored.value.reference_store, &stored.value.id);
    let mut commit = Commit::new();
    commit.unchanged(key.clone(), stored.version);
    commit.put(key, encode(&Reference { status, ..stored.value.clone() }));
    core.commit(commit).await
}

/// Whether a read set of any store uses the reference `arn`.
pub(crate) async fn used(core: &Core, arn: &str) -> Result<bool> {
    let mut range = ScanRange::prefix(tables::SEQUENCE_STORES, []);
    loop {
        let page = core.catalog().scan(&range, &Fold::default(), STORES).await?;
        let next = page.next.clone();
        for row in page.rows() {
            let store: SequenceStore = decode(&row.value)?;
            if uses_reference(core, &store.id, arn).await? {
                return Ok(true);
            }
        }
        match next {
            Some(key) => range = range.from(key),
            None => return Ok(false),
        }
    }
}
