//! Keeps the packs true to the catalog: what a removal voided and the catalog kept is appended again.

use super::{Inner, manifest_row};
use crate::{
    Error, ErrorKind, Result,
    catalog::{Commit, Outcome, Row},
    chunk_store::Extent,
    ids::ManifestId,
    manifest::ManifestRow,
    pack::{Batch, RecordName, SealedRecord},
};

/// Manifests that one read of the catalog looks up.
const LOOKUP: usize = 512;

/// Those of `manifests` that have a row, and those that have none.
pub(super) async fn split(
    inner: &Inner,
    manifests: &[ManifestId],
) -> Result<(Vec<(ManifestId, Row)>, Vec<ManifestId>)> {
    let (mut visible, mut gone) = (Vec::new(), Vec::new());
    for some in manifests.chunks(LOOKUP) {
        let rows: Vec<_> = some.iter().map(|id| manifest_row(*id)).collect();
        for (id, row) in some.iter().zip(inner.catalog.read(&rows).await?) {
            match row {
                Some(row) => visible.push((*id, row)),
                None => gone.push(*id),
            }
        }
    }
    Ok((visible, gone))
}

/// Appends the records of those of `manifests` that are visible once more, behind the void that names
/// them, and lets their rows point there. The others are left as they are.
///
/// # Errors
/// Those of the packs and of the catalog; the next start does what was not done.
pub(super) async fn reassert(inner: &Inner, manifests: &[ManifestId]) -> Result<()> {
    for (id, row) in split(inner, manifests).await?.0 {
        match again(inner, id, &row).await {
            // Damage is a scrub's to tell; what is here must not keep a vault from starting.
            Err(cause) if matches!(cause.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                tracing::error!(manifest = %id, %cause, "a manifest can't be appended again");
            }
            done => done?,
        }
    }
    Ok(())
}

async fn again(inner: &Inner, id: ManifestId, row: &Row) -> Result<()> {
    let place = ManifestRow::decode(&row.value)?;
    let ManifestRow { pack, offset, length, head_bytes } = place;
    let record = inner.chunks.read(Extent { pack, offset, length }).await?;
    let record = SealedRecord::stored(RecordName::Manifest(id), record)?;
    let batch = Batch { records: vec![record], ..Batch::default() };
    // Until it is known whether the copy stays.
    let _appending = inner.in_flight.appending();
    let extent = inner.chunks.append(batch).await?.extents()[0];
    inner.in_flight.copied();
    let moved = ManifestRow { pack: extent.pack, offset: extent.offset, length, head_bytes };
    let mut commit = Commit::new();
    commit.unchanged(manifest_row(id), row.version).put(manifest_row(id), moved.encode());
    match inner.catalog.commit(commit).await? {
        Outcome::Applied { version } => inner.chunks.acknowledge(version),
        // Whoever moved the record asserted it; whoever ended it did so before this copy was appended.
        Outcome::Conflict(_) => inner.void(split(inner, &[id]).await?.1).await?,
        Outcome::Unknown => {
            return Err(Error::new(ErrorKind::Unavailable, "row of a manifest"));
        }
    }
    inner.manifests.forget(id);
    Ok(())
}
