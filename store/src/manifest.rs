//! Manifests: which chunks a file is made of, and the keys that open them.
//!
//! One record per file of an item, sealed under the item's key; files of at most 64 KiB live inside
//! it. Pure codecs; a reader asks for the stored bytes it needs through a function that the vault
//! gives it. Bytes: `docs/format.md` §4.

mod blocks;
mod body;
mod head;
mod reader;
mod record;
mod spans;
mod tail;
mod writer;

pub use blocks::{IdBlock, KeyBlock, REPLACES_MAX};
pub use body::{ENTRY_BYTES, EntryRun, INLINE_BYTES_MAX, PART_RUNS_MAX, PartRun, Prelude};
pub use head::{HEAD_BYTES_MAX, MANIFEST_HEADER_BYTES, MANIFEST_MAGIC, ManifestHead};
pub use reader::ManifestReader;
pub use record::{MANIFEST_ROW_BYTES, ManifestRow, SealedManifest, check_manifest, with_key_block};
pub(crate) use record::{manifest_head_bytes, manifest_record_bytes};
pub use spans::{ChunkSpan, ChunkSpans};
pub use tail::{Digest, DigestKind, Tail};
pub use writer::{ManifestKeys, ManifestSpec, ManifestWriter};
