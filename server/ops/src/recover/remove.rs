//! Taking a row out, and those that stand beside it for it alone.

use readvault_store::catalog::{Commit, Durability, RowKey};

use crate::{
    bucket,
    core::{Core, Stored, row_of},
    fault::Result,
    read_set::{ReadSet, index},
    reference_store::ReferenceStore,
    sequence_store::SequenceStore,
    tables,
};

/// Removes `row` when it is there.
///
/// # Errors
/// Those of the catalog.
pub(super) async fn remove(core: &Core, row: &RowKey) -> Result<()> {
    let mut commit = Commit { durability: Durability::Ordered, ..Commit::new() };
    match row.table {
        tables::READ_SETS => {
            let found: Option<Stored<ReadSet>> = core.load(row).await?;
            found.iter().for_each(|found| index::remove(&mut commit, &found.value));
        }
        tables::SEQUENCE_STORES => {
            let found: Option<Stored<SequenceStore>> = core.load(row).await?;
            if let Some(found) = &found {
                commit.delete(bucket::row(&found.value.alias));
            }
        }
        tables::REFERENCE_STORES => {
            let found: Option<Stored<ReferenceStore>> = core.load(row).await?;
            if let Some(found) = &found {
                let account = &found.value.store.account;
                commit.delete(row_of(tables::TOKENS, &["reference-store-of", account]));
            }
        }
        _ => {}
    }
    commit.delete(row.clone());
    core.commit(commit).await.map(drop)
}
