//! Reads ranges of inputs, block by block through the cache, always in full.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    cache::{BLOCK_BYTES, BlockCache},
    connection::{Lost, Server},
};

/// Bytes of one question to the server; a multiple of [`BLOCK_BYTES`].
pub(super) const GROUP_BYTES: u64 = 1 << 20;
const _: () = assert!(GROUP_BYTES == readvault_exec_protocol::run::READ_BYTES_MAX as u64);
/// Locks that keep two readers from asking for the same group.
const STRIPES: usize = 64;

/// Where the reader of an open file was last.
#[derive(Clone, Debug, Default)]
pub(super) struct Position(Arc<AtomicU64>);

/// Reads inputs.
#[derive(Debug)]
pub(super) struct Reader {
    server: Arc<Server>,
    cache: BlockCache,
    stripes: Vec<Mutex<()>>,
}

impl Reader {
    /// Reads from `server` and keeps at most `cache_bytes` of it.
    pub(super) fn new(server: Arc<Server>, cache_bytes: usize) -> Self {
        let stripes = (0..STRIPES).map(|_| Mutex::default()).collect();
        Self { server, cache: BlockCache::new(cache_bytes), stripes }
    }

    /// The server that is read from.
    pub(super) fn server(&self) -> Arc<Server> {
        Arc::clone(&self.server)
    }

    /// All bytes of `range` of the input with this number and length; `range` ends with the input
    /// at the latest.
    pub(super) fn read(
        &self,
        (input, length): (u32, u64),
        range: Range<u64>,
        position: &Position,
    ) -> Result<Vec<u8>, Lost> {
        let before = position.0.swap(range.end, Ordering::Relaxed);
        // The kernel's own read-ahead arrives a little out of order.
        let sequential = range.start.abs_diff(before) <= GROUP_BYTES;
        let mut content = Vec::with_capacity(usize::try_from(range.end - range.start).unwrap_or(0));
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min((start / GROUP_BYTES + 1) * GROUP_BYTES);
            self.part((input, length), start..end, sequential, &mut content)?;
            start = end;
        }
        Ok(content)
    }

    /// Appends `range`, which lies in one group, to `content`.
    fn part(
        &self,
        (input, length): (u32, u64),
        range: Range<u64>,
        sequential: bool,
        content: &mut Vec<u8>,
    ) -> Result<(), Lost> {
        let group = range.start / GROUP_BYTES;
        let stripe = (group as usize).wrapping_mul(31).wrapping_add(input as usize) % STRIPES;
        let blocks = range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES);
        let mut found = Vec::new();
        // Held while asking, so that a second reader of the same bytes finds them kept.
        let _asking = self.stripes[stripe].lock().unwrap_or_else(PoisonError::into_inner);
        for block in blocks.clone() {
            match self.cache.find((input, block)) {
                Some(bytes) => found.push(bytes),
                None => break,
            }
        }
        let missing = blocks.start + found.len() as u64;
        if missing < blocks.end {
            let ahead = (group + 1) * GROUP_BYTES / BLOCK_BYTES;
            let end = if sequential { ahead } else { blocks.end };
            found.extend(self.ask((input, length), missing..end)?);
        }
        for (block, bytes) in blocks.zip(found) {
            let base = block * BLOCK_BYTES;
            let from = range.start.saturating_sub(base) as usize;
            let to = (range.end - base).min(bytes.len() as u64) as usize;
            content.extend_from_slice(&bytes[from..to]);
        }
        Ok(())
    }

    /// Asks the server for whole blocks and keeps them.
    fn ask(&self, (input, length): (u32, u64), blocks: Range<u64>) -> Result<Vec<Arc<[u8]>>, Lost> {
        let start = blocks.start * BLOCK_BYTES;
        let end = (blocks.end * BLOCK_BYTES).min(length);
        let bytes = self.server.read(input, start..end)?;
        let pieces: Vec<Arc<[u8]>> =
            bytes.chunks(BLOCK_BYTES as usize).map(Arc::<[u8]>::from).collect();
        for (block, piece) in blocks.zip(&pieces) {
            self.cache.keep((input, block), Arc::clone(piece));
        }
        Ok(pieces)
    }
}
