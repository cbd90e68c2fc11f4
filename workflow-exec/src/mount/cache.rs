//! The blocks that were read last, up to a number of bytes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

/// Bytes of a block: small enough for a look into an index, sixteen of them in one question.
pub(super) const BLOCK_BYTES: u64 = 64 << 10;

/// A block of an input: its number and the block's.
pub(super) type Key = (u32, u64);

/// Keeps blocks; what was used longest ago goes first.
#[derive(Debug)]
pub(super) struct BlockCache {
    bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    blocks: HashMap<Key, (Arc<[u8]>, u64)>,
    by_use: BTreeMap<u64, Key>,
    bytes: usize,
    uses: u64,
}

impl BlockCache {
    /// A cache of at most `bytes_max` bytes of blocks.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, kept: Mutex::default() }
    }

    /// The block, if it is kept.
    pub(super) fn find(&self, key: Key) -> Option<Arc<[u8]>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.uses += 1;
        let now = kept.uses;
        let (block, used) = kept.blocks.get_mut(&key)?;
        let (block, before) = (Arc::clone(block), std::mem::replace(used, now));
        kept.by_use.remove(&before);
        kept.by_use.insert(now, key);
        Some(block)
    }

    /// Keeps a block.
    pub(super) fn keep(&self, key: Key, block: Arc<[u8]>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.uses += 1;
        let now = kept.uses;
        kept.bytes += block.len();
        if let Some((old, before)) = kept.blocks.insert(key, (block, now)) {
            kept.bytes -= old.len();
            kept.by_use.remove(&before);
        }
        kept.by_use.insert(now, key);
        while kept.bytes > self.bytes_max {
            let Some((_, oldest)) = kept.by_use.pop_first() else { break };
            if let Some((gone, _)) = kept.blocks.remove(&oldest) {
                kept.bytes -= gone.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_used_block_goes_first() {
        let cache = BlockCache::new(10);
        let block = |length: usize| Arc::from(vec![7; length]);
        cache.keep((0, 0), block(4));
        cache.keep((0, 1), block(4));
        assert!(cache.find((0, 0)).is_some());
        cache.keep((0, 2), block(4));
        assert!(cache.find((0, 1)).is_none());
        assert!(cache.find((0, 0)).is_some() && cache.find((0, 2)).is_some());
        cache.keep((0, 2), block(2));
        cache.keep((1, 0), block(4));
        assert!(cache.find((0, 0)).is_some() && cache.find((0, 2)).is_some());
        cache.keep((1, 1), block(11));
        assert!(cache.find((1, 1)).is_none());
        assert_eq!(cache.kept.lock().unwrap().bytes, 0);
    }
}
