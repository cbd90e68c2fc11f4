//! The store in which the server keeps documents of its own: definitions of workflows.

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use readvault_store::vault::{DomainChoice, FileReader, Store, VaultCommit};

use crate::{
    core::{Core, encode, row_of},
    fault::Result,
    kept::{self, Owner},
    tables,
};

/// The store of documents; made at its first use.
///
/// # Errors
/// Those of the vault.
pub(crate) async fn store(core: &Core) -> Result<Store> {
    let row = row_of(tables::DOCUMENT_STORES, &["documents"]);
    loop {
        if let Some(stored) = core.load::<Store>(&row).await? {
            return Ok(stored.value);
        }
        let store = core.vault().create_store(&core.site().account, DomainChoice::Own).await?;
        let mut commit = VaultCommit::default();
        commit.commit.absent(row.clone()).put(row.clone(), encode(&store));
        kept::keep(core, &mut commit, Owner::store(&store), (std::slice::from_ref(&row), &[]))
            .await?;
        if core.commit(commit).await? {
            return Ok(store);
        }
    }
}

/// All bytes of a file that is known to be small.
pub(crate) async fn read_whole(reader: &FileReader) -> Result<Bytes> {
    let length = reader.length();
    let mut whole = BytesMut::with_capacity(usize::try_from(length).unwrap_or(0));
    let mut stream = reader.stream(0..length);
    while let Some(piece) = stream.try_next().await? {
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}
