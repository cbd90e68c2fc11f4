//! BatchDeleteReadSet.

use readvault_store::{
    catalog::Commit,
    vault::{Removal, VaultCommit},
};

use super::{ReadSet, index, load, row};
use crate::{
    authorize::Permit,
    core::{Core, DECISIONS_MAX, contended},
    fault::Result,
    kept,
};

/// Deletes the read set `id` of `store`: its rows, and its files by a tombstone that a rebuild
/// honours. Durable when it returns. A job that inspects it meanwhile ends without effect.
///
/// # Errors
/// `NotFound`; those of the vault.
pub async fn delete(core: &Core, _permit: &Permit, store: &str, id: &str) -> Result<()> {
    for _ in 0..DECISIONS_MAX {
        let stored = load(core, store, id).await?;
        let mut commit = Commit::new();
        commit.unchanged(row(store, id), stored.version);
        index::remove(&mut commit, &stored.value);
        let removes = vec![removal(&stored.value)];
        let mut commit = VaultCommit { commit, files: Vec::new(), removes };
        kept::end(core, &mut commit, &row(store, id)).await?;
        if core.commit(commit).await? {
            return Ok(());
        }
    }
    Err(contended())
}

fn removal(read_set: &ReadSet) -> Removal {
    let files = read_set.files.all().map(|file| file.file.clone()).collect();
    Removal { item: read_set.item.id, files }
}
