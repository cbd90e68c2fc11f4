//! UpdateSequenceStore.

use readvault_store::vault::VaultCommit;
use serde::Serialize;

use super::{
    SequenceStore,
    create::{alias_bucket, check_propagated},
    load, row,
};
use crate::{
    authorize::Permit,
    bucket,
    core::{Core, DECISIONS_MAX, contended, encode},
    fault::Result,
    idempotency::Once,
    kept::{self, Owner},
};

/// What is to change; what is absent stays.
#[derive(Clone, Debug, Serialize)]
pub struct SequenceStoreChange {
    /// Its new name.
    pub name: Option<String>,
    /// Its new description.
    pub description: Option<String>,
    /// Its new fallback location; the empty text clears it.
    pub fallback_location: Option<String>,
    /// The new keys of propagated tags.
    pub propagated_tags: Option<Vec<String>>,
    /// The client's token.
    #[serde(skip)]
    pub client_token: Option<String>,
}

/// Changes the sequence store `id`. Durable when it returns.
///
/// # Errors
/// `NotFound`; `InvalidArgument`; `Conflict` when the token came with another request.
pub async fn update(
    core: &Core,
    _permit: &Permit,
    id: &str,
    change: SequenceStoreChange,
) -> Result<SequenceStore> {
    if let Some(keys) = &change.propagated_tags {
        check_propagated(keys)?;
    }
    let operation = format!("UpdateSequenceStore/{id}");
    let once = Once::new(&operation, change.client_token.as_deref(), &change);
    for _ in 0..DECISIONS_MAX {
        if let Some(store) = once.earlier(core).await? {
            return Ok(store);
        }
        let stored = load(core, id).await?;
        let changed = apply(stored.value, &change, core.now_ms());
        let mut commit = VaultCommit::default();
        commit.commit.unchanged(row(id), stored.version).put(row(id), encode(&changed));
        let alias = alias_bucket(&changed);
        commit.commit.put(bucket::row(&alias.name), encode(&alias));
        once.keep(core, &mut commit.commit, &changed);
        let rows = [row(id), bucket::row(&alias.name)];
        let taken = [("sequence_store", id)];
        kept::keep(core, &mut commit, Owner::store(&changed.store), (&rows, &taken)).await?;
        if core.commit(commit).await? {
            return Ok(changed);
        }
    }
    Err(contended())
}

fn apply(mut store: SequenceStore, change: &SequenceStoreChange, now_ms: u64) -> SequenceStore {
    if let Some(name) = &change.name {
        store.name.clone_from(name);
    }
    if let Some(description) = &change.description {
        store.description = Some(description.clone());
    }
    if let Some(location) = &change.fallback_location {
        store.fallback_location = Some(location.clone()).filter(|text| !text.is_empty());
    }
    if let Some(keys) = &change.propagated_tags {
        store.propagated_tags.clone_from(keys);
    }
    store.updated_ms = now_ms;
    store
}
