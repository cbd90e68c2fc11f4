//! UploadReadSetPart.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use readvault_store::{
    catalog::Commit,
    vault::{
        BodyError, FileRole, FileSpec, Item, ItemKind, Metadata, Removal, SlotChoice, Staged,
        VaultCommit,
    },
};
use sha2::{Digest, Sha256};

use super::{
    PART_BYTES_MAX, PART_NUMBER_MAX, PartSource, ReadSetUpload, UploadedPart, load, part_row, row,
};
use crate::{
    Fault, FaultKind,
    authorize::Permit,
    core::{Core, Stored, encode},
    fault::Result,
};

/// Which part comes, and what is declared of it.
#[derive(Clone, Debug)]
pub struct NewPart {
    /// Id of the sequence store.
    pub store: String,
    /// Id of the upload.
    pub upload: String,
    /// Which source.
    pub source: PartSource,
    /// Its number, from 1.
    pub number: u32,
    /// The SHA-256 that its bytes must have, where the request was signed over it.
    pub sha256: Option<[u8; 32]>,
}

/// Stores one part, in any order and concurrently with others; a number that came before is
/// replaced. Durable when it returns; whatever ends it earlier leaves nothing visible.
///
/// # Errors
/// `NoSuchUpload`; `InvalidArgument`; `EntityTooLarge`; `PayloadHashMismatch`; `SlowDown` when the
/// same number came twice at once.
pub async fn put<S>(core: &Core, permit: &Permit, new: NewPart, body: S) -> Result<UploadedPart>
where
    S: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin,
{
    if !(1..=PART_NUMBER_MAX).contains(&new.number) {
        return Err(Fault::invalid("partNumber must be from 1 to 10000"));
    }
    let upload = load(core, &new.store, &new.upload).await?;
    if new.source == PartSource::Source2 && upload.value.details.file_type != "FASTQ" {
        return Err(Fault::invalid("only FASTQ uploads have a SOURCE2"));
    }
    let item = part_item(core, &upload.value).await?;
    let hash = Arc::new(Mutex::new((Sha256::new(), 0_u64)));
    let staged = stage(core, permit, item.clone(), counted(body, hash.clone())).await?;
    let digest: [u8; 32] = hash.lock().0.clone().finalize().into();
    if new.sha256.is_some_and(|declared| declared != digest) {
        return Err(Fault::new(
            FaultKind::PayloadHashMismatch,
            "the part does not have the SHA-256 that was signed",
        ));
    }
    if staged.file().length == 0 {
        return Err(Fault::invalid("a part has at least one byte"));
    }
    commit(core, &new, &upload, (item, staged, STANDARD.encode(digest))).await
}

async fn part_item(core: &Core, upload: &ReadSetUpload) -> Result<Item> {
    let slot = SlotChoice::Same(upload.item.slot);
    Ok(core.vault().new_item(&upload.item.store, ItemKind::Upload, slot).await?)
}

/// The same body, hashed and counted on its way.
fn counted<S>(
    body: S,
    hash: Arc<Mutex<(Sha256, u64)>>,
) -> impl Stream<Item = Result<Bytes, BodyError>> + Send + Unpin
where
    S: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin,
{
    body.map(move |piece| {
        let piece = piece?;
        let mut state = hash.lock();
        state.0.update(&piece);
        state.1 += u64::try_from(piece.len()).unwrap_or(u64::MAX);
        if state.1 > PART_BYTES_MAX {
            let message = format!("a part has at most {PART_BYTES_MAX} bytes");
            return Err(Box::new(Fault::new(FaultKind::EntityTooLarge, message)) as BodyError);
        }
        Ok(piece)
    })
}

async fn stage<S>(core: &Core, permit: &Permit, item: Item, body: S) -> Result<Staged>
where
    S: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin,
{
    let spec = FileSpec::new(item, FileRole::Part, Metadata::None);
    let permit = permit.clone();
    let body = body.map(move |piece| {
        if permit.live() {
            return piece;
        }
        Err(Box::new(Fault::new(FaultKind::AccessDenied, "access was withdrawn")) as BodyError)
    });
    core.stage(spec, body).await
}

async fn commit(
    core: &Core,
    new: &NewPart,
    upload: &Stored<ReadSetUpload>,
    (item, staged, checksum): (Item, Staged, String),
) -> Result<UploadedPart> {
    let key = part_row(&new.upload, new.source, new.number);
    let earlier: Option<Stored<UploadedPart>> = core.load(&key).await?;
    let now = core.now_ms();
    let part = UploadedPart {
        source: new.source,
        number: new.number,
        item,
        file: staged.file().clone(),
        checksum,
        created_ms: earlier.as_ref().map_or(now, |part| part.value.created_ms),
        updated_ms: now,
    };
    let mut commit = Commit::new();
    commit.unchanged(row(&new.store, &new.upload), upload.version);
    let mut removes = Vec::new();
    match earlier {
        None => commit.absent(key.clone()),
        Some(earlier) => {
            let files = vec![earlier.value.file];
            removes.push(Removal { item: earlier.value.item.id, files });
            commit.unchanged(key.clone(), earlier.version)
        }
    };
    commit.put(key, encode(&part));
    if core.commit(VaultCommit { commit, files: vec![staged], removes }).await? {
        return Ok(part);
    }
    load(core, &new.store, &new.upload).await?;
    Err(Fault::new(FaultKind::SlowDown, "this part came twice at once; send it again"))
}
