//! CreateSequenceStore.

use readvault_store::vault::{DomainChoice, VaultCommit};
use serde::Serialize;

use super::{SequenceStore, row};
use crate::{
    authorize::Permit,
    bucket::{self, Bucket, BucketKind},
    core::{Core, DECISIONS_MAX, contended, encode},
    fault::{Fault, Result},
    idempotency::Once,
    kept::{self, Owner},
};

/// First number of a sequence store: ids have ten digits.
const FIRST_ID: u64 = 1_000_000_001;
/// Most tag keys that may become tags of objects.
pub const PROPAGATED_TAGS_MAX: usize = 5;

/// What a new sequence store is to be.
#[derive(Clone, Debug, Serialize)]
pub struct NewSequenceStore {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Where parts of failed uploads go (`s3://…`).
    pub fallback_location: Option<String>,
    /// `MD5up`, `SHA256up` or `SHA512up`.
    pub etag_family: String,
    /// Keys of read set tags that become tags of their objects.
    pub propagated_tags: Vec<String>,
    /// Tags.
    pub tags: Vec<(String, String)>,
    /// The client's token.
    #[serde(skip)]
    pub client_token: Option<String>,
}

/// Makes a sequence store and, in the same commit, the bucket row of its access-point alias.
/// Durable when it returns; the same token answers the same store.
///
/// # Errors
/// `InvalidArgument`; `Conflict` when the token came with another request; those of the vault.
pub async fn create(core: &Core, permit: &Permit, new: NewSequenceStore) -> Result<SequenceStore> {
    check_propagated(&new.propagated_tags)?;
    let _ = permit;
    let once = Once::new("CreateSequenceStore", new.client_token.as_deref(), &new);
    for _ in 0..DECISIONS_MAX {
        if let Some(store) = once.earlier(core).await? {
            return Ok(store);
        }
        let store = fresh(core, &new).await?;
        let mut vault = VaultCommit::default();
        let commit = &mut vault.commit;
        commit.absent(row(&store.id)).put(row(&store.id), encode(&store));
        let alias = alias_bucket(&store);
        commit.absent(bucket::row(&alias.name)).put(bucket::row(&alias.name), encode(&alias));
        once.keep(core, commit, &store);
        let rows = [row(&store.id), bucket::row(&alias.name)];
        let taken = [("sequence_store", store.id.as_str())];
        kept::keep(core, &mut vault, Owner::store(&store.store), (&rows, &taken)).await?;
        if core.commit(vault).await? {
            return Ok(store);
        }
    }
    Err(contended())
}

/// The bucket under whose name the read sets of `store` are.
pub(super) fn alias_bucket(store: &SequenceStore) -> Bucket {
    Bucket {
        name: store.alias.clone(),
        kind: BucketKind::ReadSets { sequence_store: store.id.clone() },
        created_ms: store.created_ms,
        tags: Vec::new(),
        closing: false,
    }
}

/// Refuses more propagated tags than there may be.
pub(super) fn check_propagated(keys: &[String]) -> Result<()> {
    if keys.len() > PROPAGATED_TAGS_MAX {
        return Err(Fault::invalid(format!(
            "propagatedSetLevelTags may have at most {PROPAGATED_TAGS_MAX} keys"
        )));
    }
    Ok(())
}

async fn fresh(core: &Core, new: &NewSequenceStore) -> Result<SequenceStore> {
    let id = core.next_id("sequence_store", FIRST_ID).await?.to_string();
    let now = core.now_ms();
    Ok(SequenceStore {
        alias: alias(core, &id),
        store: core.vault().create_store(&core.site().account, DomainChoice::Own).await?,
        id,
        name: new.name.clone(),
        description: new.description.clone(),
        fallback_location: new.fallback_location.clone(),
        etag_family: new.etag_family.clone(),
        propagated_tags: new.propagated_tags.clone(),
        reference_arn: None,
        tags: new.tags.clone(),
        created_ms: now,
        updated_ms: now,
        closing: false,
    })
}

/// A bucket name of 63 characters that nobody can guess (docs/s3-compat.md).
fn alias(core: &Core, id: &str) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let random: [u8; 34] = readvault_ambient::random(core.entropy());
    let suffix: String =
        random.iter().map(|byte| char::from(LETTERS[usize::from(byte & 31)])).collect();
    let account = format!("{}-{id}", core.site().account);
    let head = account.get(..20).unwrap_or(&account);
    format!("{head}-{suffix}-s3alias")
}
