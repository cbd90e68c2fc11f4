//! CreateMultipartReadSetUpload.

use readvault_store::{
    catalog::Commit,
    vault::{ItemKind, SlotChoice},
};

use super::{ReadSetUpload, row};
use crate::{
    authorize::Permit,
    core::{Core, DECISIONS_MAX, contended, encode},
    fault::Result,
    idempotency::Once,
    read_set::details::ReadSetDetails,
    reference, sequence_store,
};

/// First number of an upload: ids have ten digits.
const FIRST_ID: u64 = 1_000_000_001;

/// Begins an upload to `store`. Durable when it returns; the same token answers the same upload.
///
/// # Errors
/// `NotFound` for the store or the reference; `InvalidArgument`; `Conflict` when the token came
/// with another request.
pub async fn create(
    core: &Core,
    _permit: &Permit,
    store: &str,
    details: ReadSetDetails,
    client_token: Option<String>,
) -> Result<ReadSetUpload> {
    let operation = format!("CreateMultipartReadSetUpload/{store}");
    let once = Once::new(&operation, client_token.as_deref(), &details);
    for _ in 0..DECISIONS_MAX {
        if let Some(upload) = once.earlier(core).await? {
            return Ok(upload);
        }
        let held = sequence_store::load(core, store).await?;
        let reference = details.check(core, &held.value).await?;
        let upload = ReadSetUpload {
            id: core.next_id("read_set_upload", FIRST_ID).await?.to_string(),
            sequence_store: store.into(),
            item: core
                .vault()
                .new_item(&held.value.store, ItemKind::Upload, SlotChoice::Own)
                .await?,
            details: details.clone(),
            created_ms: core.now_ms(),
        };
        let mut commit = Commit::new();
        sequence_store::hold(&mut commit, &held, None);
        reference::hold(&mut commit, reference.as_ref());
        commit.absent(row(store, &upload.id)).put(row(store, &upload.id), encode(&upload));
        once.keep(core, &mut commit, &upload);
        if core.commit(commit).await? {
            return Ok(upload);
        }
    }
    Err(contended())
}
