//! Packs: what a batch is, the sealed index that ends it, and how a pack is read from its bytes
//! alone.
//!
//! A pack is a header, then batches: records, then an index sealed under VK. A closed pack ends
//! with a footer that repeats its indexes. Pure codecs over slices; `chunk_store` writes and reads
//! the files. Bytes: `docs/format.md` §5.

mod batch;
mod frame;
mod index;
mod order;
mod read;

pub use batch::{Batch, Origin, SealedRecord};
pub(crate) use frame::{FOOTER_END_BYTES, footer_bytes, footer_offset};
pub use frame::{PACK_HEADER_BYTES, PACK_MAGIC, PackHeader, footer};
pub(crate) use index::chain_hash;
pub use index::{
    BatchIndex, Bridge, INDEX_BYTES_MAX, INDEX_MAGIC, IndexEntry, IndexPlace, RecordName, Tombstone,
};
pub use order::{Chains, Followed, Gap, PackSpan, PlacedBatch, in_order};
pub use read::{PackBytes, PackContents, PackEnd, ReadBatch, read_closed, read_pack, read_pack_of};
