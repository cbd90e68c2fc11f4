//! Multipart uploads: rows, and the operations, in files of their own below `multipart/`.
//!
//! An upload, its parts and the object that it becomes share one shred slot. Each part is an item
//! of its own, so that a part that is sent again ends the one before. A part's commit checks the
//! row of its upload, which Complete and Abort change; so no part can appear behind their back.

pub mod abort;
pub mod complete;
pub mod create;
mod finish;
pub mod list;
pub mod part;
pub mod part_list;
#[cfg(test)]
mod tests;

use readvault_store::{
    catalog::{Fold, PAGE_ITEMS_MAX, RowKey, ScanRange},
    ids::StoreId,
    vault::{FileRef, Removal},
};
use serde::{Deserialize, Serialize};

use crate::{
    Fault, FaultKind,
    body::{Algorithm, Checksum},
    core::{Core, decode},
    fault::Result,
    object::{Attributes, Objects, key},
    tables,
};

/// Smallest part, except the last: 5 MiB.
pub const PART_BYTES_MIN: u64 = 5 << 20;

/// Largest part: 5 GiB.
pub const PART_BYTES_MAX: u64 = 5 << 30;

/// Largest part number.
pub const PART_NUMBER_MAX: u32 = 10_000;

/// Uploads of one bucket that may be open at once, those whose parts are still being removed included.
pub const UPLOADS_OPEN_MAX: usize = 10_000;

/// Marks the parts of object uploads among those of read set uploads.
const SOURCE: u8 = 0;

/// How the checksum of the whole follows from those of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ChecksumKind {
    /// It is the digest of the parts' digests.
    Composite,
    /// It is the checksum of all bytes.
    FullObject,
}

/// Where an upload stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UploadState {
    /// It takes parts.
    Open,
    /// It was completed or aborted, and its parts are being removed.
    Ended,
}

/// A multipart upload, as its row holds it. Key: [`row`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// Its id.
    pub id: String,
    /// The key of the object that it becomes.
    pub key: String,
    /// Where it stands.
    pub state: UploadState,
    /// The shred slot of its parts and its object.
    pub slot: u64,
    /// Milliseconds since 1970 at which it was begun.
    pub created_ms: u64,
    /// What is said about the object that it becomes.
    #[serde(flatten)]
    pub attributes: Attributes,
    /// The checksum that every part gets, and how that of the whole follows.
    pub checksum: Option<(Algorithm, ChecksumKind)>,
}

/// A part, as its row holds it. Key: [`part_row`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its number.
    pub number: u32,
    /// Its item in the vault.
    pub item: readvault_store::ids::ItemId,
    /// Its bytes.
    pub file: FileRef,
    /// Its ETag, without quotes.
    pub etag: String,
    /// Milliseconds since 1970 at which it was put.
    pub modified_ms: u64,
    /// Its checksums.
    #[serde(default)]
    pub checksums: Vec<Checksum>,
}

impl Part {
    fn removal(&self) -> Removal {
        Removal { item: self.item, files: vec![self.file.clone()] }
    }
}

/// Which upload is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadName<'a> {
    /// Name of the bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// Id of the upload.
    pub id: &'a str,
}

/// The operations on multipart uploads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Multiparts {
    objects: Objects,
}

impl Multiparts {
    /// The multipart uploads that become `objects`.
    #[must_use]
    pub fn new(objects: Objects) -> Self {
        Self { objects }
    }

    fn core(&self) -> &Core {
        self.objects.core()
    }

    /// The row of an upload, checked for form only.
    async fn row_of(&self, name: &UploadName<'_>) -> Result<RowKey> {
        let store = self.objects.buckets().lookup(name.bucket).await?.objects()?.id;
        key::check(name.key)?;
        if name.id.len() != 32 || !name.id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(no_such_upload());
        }
        Ok(row(store, name.key, name.id))
    }
}

/// The row of upload `id` of `key` in the bucket whose store is `bucket`.
#[must_use]
pub fn row(bucket: StoreId, key: &str, id: &str) -> RowKey {
    let mut row = key::prefix(bucket, key);
    row.push(0);
    row.extend_from_slice(id.as_bytes());
    RowKey::new(tables::MULTIPARTS, row)
}

/// What the rows of the parts of upload `id` begin with.
#[must_use]
pub fn part_prefix(id: &str) -> Vec<u8> {
    let mut row = id.as_bytes().to_vec();
    row.push(SOURCE);
    row
}

/// The row of part `number` of upload `id`.
#[must_use]
pub fn part_row(id: &str, number: u32) -> RowKey {
    let mut row = part_prefix(id);
    row.extend_from_slice(&number.to_be_bytes());
    RowKey::new(tables::PARTS, row)
}

/// The fault of an upload that does not exist, or not any more.
#[must_use]
pub fn no_such_upload() -> Fault {
    let message = "the specified upload does not exist; it may have been aborted or completed";
    Fault::new(FaultKind::NoSuchUpload, message)
}

/// Refuses one more upload in the bucket whose store is `bucket` when `most` are open.
///
/// # Errors
/// `QuotaExceeded`; those of the catalog.
pub(crate) async fn check_room(core: &Core, bucket: StoreId, most: usize) -> Result<()> {
    let mut range = ScanRange::prefix(tables::MULTIPARTS, bucket.as_bytes().to_vec());
    let mut count = 0;
    loop {
        let page = core.catalog().scan(&range, &Fold::default(), PAGE_ITEMS_MAX).await?;
        let next = page.next.clone();
        count += page.rows().count();
        if count >= most {
            let message = format!("the bucket has {most} open uploads: complete or abort some");
            return Err(Fault::new(FaultKind::QuotaExceeded, message));
        }
        match next {
            Some(next) => range = range.from(next),
            None => return Ok(()),
        }
    }
}

/// Whether the bucket whose store is `bucket` has an upload that takes parts.
pub(crate) async fn open_in(core: &Core, bucket: StoreId) -> Result<bool> {
    let mut range = ScanRange::prefix(tables::MULTIPARTS, bucket.as_bytes().to_vec());
    loop {
        let page = core.catalog().scan(&range, &Fold::default(), 100).await?;
        let next = page.next.clone();
        for row in page.rows() {
            if decode::<Upload>(&row.value)?.state == UploadState::Open {
                return Ok(true);
            }
        }
        match next {
            Some(next) => range = range.from(next),
            None => return Ok(false),
        }
    }
}
