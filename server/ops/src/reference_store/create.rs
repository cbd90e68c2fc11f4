//! CreateReferenceStore.

use readvault_store::vault::{DomainChoice, VaultCommit};
use serde::Serialize;

use super::{ReferenceStore, only_row, row};
use crate::{
    Fault, FaultKind,
    authorize::Permit,
    core::{Core, DECISIONS_MAX, Stored, contended, encode},
    fault::Result,
    idempotency::Once,
    kept::{self, Owner},
};

/// First number of a reference store: ids have ten digits.
const FIRST_ID: u64 = 1_000_000_001;

/// What a new reference store is to be.
#[derive(Clone, Debug, Serialize)]
pub struct NewReferenceStore {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Tags.
    pub tags: Vec<(String, String)>,
    /// The client's token.
    #[serde(skip)]
    pub client_token: Option<String>,
}

/// Makes the reference store. Durable when it returns; the same token answers the same store.
///
/// # Errors
/// `QuotaExceeded` when there is one; `Conflict` when the token came with another request.
pub async fn create(
    core: &Core,
    _permit: &Permit,
    new: NewReferenceStore,
) -> Result<ReferenceStore> {
    let once = Once::new("CreateReferenceStore", new.client_token.as_deref(), &new);
    let only = only_row(core.site());
    for _ in 0..DECISIONS_MAX {
        if let Some(store) = once.earlier(core).await? {
            return Ok(store);
        }
        let taken: Option<Stored<String>> = core.load(&only).await?;
        if let Some(taken) = taken {
            return Err(Fault::new(
                FaultKind::QuotaExceeded,
                format!("an account has one reference store a region: {}", taken.value),
            ));
        }
        let store = ReferenceStore {
            id: core.next_id("reference_store", FIRST_ID).await?.to_string(),
            store: core.vault().create_store(&core.site().account, DomainChoice::Own).await?,
            name: new.name.clone(),
            description: new.description.clone(),
            tags: new.tags.clone(),
            created_ms: core.now_ms(),
            closing: false,
        };
        let mut vault = VaultCommit::default();
        let commit = &mut vault.commit;
        commit.absent(only.clone()).put(only.clone(), encode(&store.id));
        commit.absent(row(&store.id)).put(row(&store.id), encode(&store));
        once.keep(core, commit, &store);
        let rows = [row(&store.id), only.clone()];
        let taken = [("reference_store", store.id.as_str())];
        kept::keep(core, &mut vault, Owner::store(&store.store), (&rows, &taken)).await?;
        if core.commit(vault).await? {
            return Ok(store);
        }
    }
    Err(contended())
}
