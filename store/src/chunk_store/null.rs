//! A store that keeps nothing, to measure all that comes before it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::{ChunkStore, Extent, PackInfo, Receipt, StoreParams, assemble::Chain, check_batch};
use crate::{
    Error, ErrorKind, Result,
    ids::PackId,
    pack::{Batch, IndexPlace, PACK_HEADER_BYTES, PackContents},
};

/// Lays batches out and seals their indexes as others do, then forgets them. Its receipts prove
/// nothing: for benches only.
#[derive(Debug)]
pub struct NullChunkStore {
    pack: PackId,
    acknowledged: Arc<AtomicU64>,
    state: Mutex<(Chain, u64, u32)>,
}

impl NullChunkStore {
    /// A store that keeps nothing.
    #[must_use]
    pub fn new(params: StoreParams) -> Self {
        let pack = PackId::draw(&*params.entropy);
        let acknowledged = Arc::new(AtomicU64::new(0));
        let chain = Chain::new(params, acknowledged.clone());
        Self { pack, acknowledged, state: Mutex::new((chain, PACK_HEADER_BYTES as u64, 0)) }
    }
}

#[async_trait]
impl ChunkStore for NullChunkStore {
    async fn append(&self, batch: Batch) -> Result<Receipt> {
        check_batch(&batch)?;
        let mut state = self.state.lock();
        let (chain, length, batches) = &mut *state;
        let place = IndexPlace { pack: self.pack, batch: *batches };
        let mut laid_out = chain.lay_out(&[&batch], place, *length);
        *length += batch.record_bytes() + laid_out.index.len() as u64;
        chain.advance(&laid_out);
        *batches = batches.wrapping_add(1);
        let extents = laid_out.extents.pop().expect("one batch was laid out");
        Ok(Receipt { extents })
    }

    async fn read(&self, extent: Extent) -> Result<Bytes> {
        Err(Error::new(ErrorKind::NotFound, format!("pack {}", extent.pack)))
    }

    async fn list(&self) -> Result<Vec<PackInfo>> {
        Ok(Vec::new())
    }

    async fn holds(&self, _pack: PackId) -> Result<bool> {
        Ok(true)
    }

    async fn footer(&self, pack: PackId) -> Result<Option<PackContents>> {
        self.summary(pack).await.map(Some)
    }

    async fn summary(&self, pack: PackId) -> Result<PackContents> {
        Err(Error::new(ErrorKind::NotFound, format!("pack {pack}")))
    }

    async fn remove(&self, _pack: PackId) -> Result<()> {
        Ok(())
    }

    fn take_closed(&self) -> Vec<PackId> {
        Vec::new()
    }

    fn acknowledge(&self, sequence: u64) {
        self.acknowledged.fetch_max(sequence, Ordering::SeqCst);
    }
}
