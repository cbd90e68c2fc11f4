//! What the vault keeps, as plain data that the rows of its callers hold.

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

/// What a file is staged as.
#[derive(Clone, Debug)]
pub struct FileSpec {
    /// The item that it belongs to.
    pub item: Item,
    /// Which file of the item.
    pub role: FileRole,
    /// 0 at first; one more at each rewrite of the same file.
    pub generation: u32,
    /// The items that become unreachable when this one is committed.
    pub replaces: Vec<ItemId>,
    /// What a rebuild without a catalog needs to name it again; opaque here; at most
    /// [`METADATA_BYTES_MAX`].
    pub metadata: Bytes,
}
