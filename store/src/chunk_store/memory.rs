//! Packs in memory, for tests.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::{ChunkStore, Extent, Receipt, StoreParams, assemble::Chain, check_batch};
use crate::{
    Error, ErrorKind, Result,
    ids::PackId,
    pack::{Batch, IndexPlace, PackHeader},
};

/// Keeps one pack in memory, byte for byte as a file would hold it. "Durable" lasts as long as it
/// does.
#[derive(Debug)]
pub struct MemoryChunkStore {
    pack: PackId,
    acknowledged: Arc<AtomicU64>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    chain: Chain,
    bytes: Vec<u8>,
    batches: u32,
}

impl MemoryChunkStore {
    /// An empty store.
    #[must_use]
    pub fn new(params: StoreParams) -> Self {
        let pack = PackId::draw(&*params.entropy);
        let bytes = PackHeader { pack, writer: params.writer }.encode();
        let acknowledged = Arc::new(AtomicU64::new(0));
        let chain = Chain::new(params, acknowledged.clone());
        Self { pack, acknowledged, state: Mutex::new(State { chain, bytes, batches: 0 }) }
    }

    /// The pack's bytes so far.
    #[must_use]
    pub fn pack_bytes(&self) -> Vec<u8> {
        self.state.lock().bytes.clone()
    }
}

#[async_trait]
impl ChunkStore for MemoryChunkStore {
    async fn append(&self, batch: Batch) -> Result<Receipt> {
        check_batch(&batch)?;
        let mut state = self.state.lock();
        let State { chain, bytes, batches } = &mut *state;
        let place = IndexPlace { pack: self.pack, batch: *batches };
        let mut laid_out = chain.lay_out(&[&batch], place, bytes.len() as u64);
        batch.records.iter().for_each(|record| bytes.extend_from_slice(record.bytes()));
        bytes.extend_from_slice(&laid_out.index);
        chain.advance(&laid_out);
        *batches += 1;
        let extents = laid_out.extents.pop().expect("one batch was laid out");
        Ok(Receipt { extents })
    }

    async fn read(&self, extent: Extent) -> Result<Bytes> {
        if extent.pack != self.pack {
            return Err(Error::new(ErrorKind::NotFound, format!("pack {}", extent.pack)));
        }
        let start = usize::try_from(extent.offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(extent.length as usize);
        let state = self.state.lock();
        let bytes = state.bytes.get(start..end);
        bytes
            .map(Bytes::copy_from_slice)
            .ok_or_else(|| Error::corrupt(format!("pack {} ends before {end}", extent.pack)))
    }

    fn acknowledge(&self, sequence: u64) {
        self.acknowledged.fetch_max(sequence, Ordering::SeqCst);
    }
}
