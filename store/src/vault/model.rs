//! What the vault keeps, as plain data that the rows of its callers hold.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::{DomainId, ItemId, ManifestId, StoreId};

/// Bytes of plaintext up to which a file that is no part lives inside its manifest.
pub const INLINE_BYTES_MAX: u64 = crate::manifest::INLINE_BYTES_MAX;

/// Most bytes of a file's metadata.
pub const METADATA_BYTES_MAX: usize = 16 << 10;

/// A store: the unit of master key and of access. Plain data, kept in the owner's row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Store {
    /// The account that owns it (12 digits).
    pub account: String,
    /// Its id.
    pub id: StoreId,
    /// Where its chunks deduplicate.
    pub domain: DomainId,
}

/// With whom a new store shares chunks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DomainChoice {
    /// With nobody: a domain of its own.
    Own,
    /// With the stores of this domain: the drop bucket of a sequence store.
    Shared(DomainId),
}

/// What an item is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum ItemKind {
    /// A read set of a sequence store.
    ReadSet = 1,
    /// A reference of a reference store.
    Reference = 2,
    /// A version of an object of a bucket.
    Object = 3,
    /// An upload that is not complete.
    Upload = 4,
    /// A document that the server keeps for itself: a workflow definition, a log.
    Document = 5,
}

impl ItemKind {
    /// The kind of this code; none of one that is not known here.
    #[must_use]
    pub fn of(code: u8) -> Option<Self> {
        let all = [Self::ReadSet, Self::Reference, Self::Object, Self::Upload, Self::Document];
        all.into_iter().find(|kind| *kind as u8 == code)
    }
}

/// Which file of its item a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum FileRole {
    /// The first source of a read set or the source of a reference.
    Source1 = 1,
    /// The second source of a paired read set.
    Source2 = 2,
    /// The index.
    Index = 3,
    /// The bytes of an object or document.
    Object = 4,
    /// A part of an upload.
    Part = 5,
    /// A copy of rows of the server's, for a rebuild.
    Record = 6,
}

impl FileRole {
    /// The role of this code; none of one that is not known here.
    #[must_use]
    pub fn of(code: u8) -> Option<Self> {
        let sources = [Self::Source1, Self::Source2, Self::Index];
        let others = [Self::Object, Self::Part, Self::Record];
        sources.into_iter().chain(others).find(|role| *role as u8 == code)
    }
}

/// An item and the sealed seed of its key. Plain data that opens nothing without the store's key; the
/// row that owns the item keeps it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Item {
    /// The store that it belongs to.
    pub store: Store,
    /// Its id.
    pub id: ItemId,
    /// What it is.
    pub kind: ItemKind,
    /// Its shred slot.
    pub slot: u64,
    /// Epoch of the store's key that seals the seed.
    pub store_key_epoch: u32,
    /// The seed of its key, sealed under the store's key.
    #[serde(with = "crate::hexed")]
    pub wrapped_seed: Vec<u8>,
}

/// Who shares the shred slot of a new item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotChoice {
    /// Nobody: it can be erased alone.
    Own,
    /// Every object of its bucket.
    OfStore,
    /// The items that already use this slot: an upload, its parts and what it becomes.
    Same(u64),
}

/// A committed file: what a row keeps to open it again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileRef {
    /// The store whose key opens it.
    pub store: StoreId,
    /// Its manifest.
    pub manifest: ManifestId,
    /// Its length in bytes of plaintext.
    pub length: u64,
}

/// What a rebuild without the rows of a file needs to write them again: opaque here, sealed with the
/// manifest, at most [`METADATA_BYTES_MAX`].
#[derive(Clone)]
pub enum Metadata {
    /// Nothing: another file of the item says it, or a rebuild leaves the file out.
    None,
    /// This.
    Known(Bytes),
    /// What this gives, asked once the body has ended without an error.
    AtTheEnd(Arc<dyn Fn() -> Bytes + Send + Sync>),
}

impl Metadata {
    /// The bytes; the body has ended.
    pub(super) fn bytes(&self) -> Bytes {
        match self {
            Self::None => Bytes::new(),
            Self::Known(bytes) => bytes.clone(),
            Self::AtTheEnd(give) => give(),
        }
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Known(_) => "Known",
            Self::AtTheEnd(_) => "AtTheEnd",
        })
    }
}

/// What a file is staged as.
#[derive(Clone, Debug)]
pub struct FileSpec {
    pub(super) item: Item,
    pub(super) role: FileRole,
    pub(super) replaces: Vec<ItemId>,
    pub(super) metadata: Metadata,
}

impl FileSpec {
    /// The file `role` of `item`, about which a rebuild is told `metadata`.
    #[must_use]
    pub fn new(item: Item, role: FileRole, metadata: Metadata) -> Self {
        Self { item, role, replaces: Vec::new(), metadata }
    }

    /// The same, when the commit that makes it visible ends these items.
    #[must_use]
    pub fn replacing(self, items: Vec<ItemId>) -> Self {
        Self { replaces: items, ..self }
    }
}
