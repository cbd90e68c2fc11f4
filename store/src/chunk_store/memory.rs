//! Packs in memory, for tests.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    ChunkStore, Extent, PACK_BYTES_MAX, PackInfo, Receipt, StoreParams, assemble::Chain,
    check_batch,
};
use crate::{
    Error, ErrorKind, Result,
    ids::PackId,
    pack::{Batch, IndexPlace, PackContents, PackEnd, PackHeader, footer, read_pack_of},
};

/// Keeps packs in memory, byte for byte as files would hold them. "Durable" lasts as long as it
/// does.
#[derive(Debug)]
pub struct MemoryChunkStore {
    params: StoreParams,
    pack_bytes_max: u64,
    acknowledged: Arc<AtomicU64>,
    state: Mutex<State>,
}

struct State {
    chain: Chain,
    packs: BTreeMap<PackId, Vec<u8>>,
    open: PackId,
    indexes: Vec<Vec<u8>>,
    closed: Vec<PackId>,
}

/// The bytes of a test that fails are not shown: there are too many.
impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "State({} packs)", self.packs.len())
    }
}

impl MemoryChunkStore {
    /// An empty store.
    #[must_use]
    pub fn new(params: StoreParams) -> Self {
        Self::with_pack_bytes(params, PACK_BYTES_MAX)
    }

    /// An empty store whose packs are closed once they have so many bytes.
    #[must_use]
    pub fn with_pack_bytes(params: StoreParams, pack_bytes_max: u64) -> Self {
        Self::over(params, pack_bytes_max, BTreeMap::new())
    }

    /// The next start of a process over the packs of `earlier`, which were left as they are.
    #[must_use]
    pub fn after(earlier: &Self, params: StoreParams) -> Self {
        let packs = earlier.state.lock().packs.clone();
        Self::over(params, earlier.pack_bytes_max, packs)
    }

    /// The open pack's bytes so far.
    #[must_use]
    pub fn pack_bytes(&self) -> Vec<u8> {
        let state = self.state.lock();
        state.packs[&state.open].clone()
    }

    fn over(
        params: StoreParams,
        pack_bytes_max: u64,
        mut packs: BTreeMap<PackId, Vec<u8>>,
    ) -> Self {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let chain = Chain::new(params.clone(), acknowledged.clone());
        let open = begin(&mut packs, &params);
        let state =
            Mutex::new(State { chain, packs, open, indexes: Vec::new(), closed: Vec::new() });
        Self { params, pack_bytes_max, acknowledged, state }
    }
}

fn begin(packs: &mut BTreeMap<PackId, Vec<u8>>, params: &StoreParams) -> PackId {
    let pack = PackId::draw(&*params.entropy);
    packs.insert(pack, PackHeader { pack, writer: params.writer }.encode());
    pack
}

impl State {
    fn bytes(&mut self) -> &mut Vec<u8> {
        self.packs.get_mut(&self.open).expect("the open pack is here")
    }

    fn roll(&mut self, params: &StoreParams) {
        let indexes = std::mem::take(&mut self.indexes);
        let bytes = self.bytes();
        let footer = footer(bytes.len() as u64, &indexes);
        bytes.extend_from_slice(&footer);
        self.closed.push(self.open);
        self.open = begin(&mut self.packs, params);
    }
}

#[async_trait]
impl ChunkStore for MemoryChunkStore {
    async fn append(&self, batch: Batch) -> Result<Receipt> {
        check_batch(&batch)?;
        let mut state = self.state.lock();
        if state.bytes().len() as u64 >= self.pack_bytes_max {
            state.roll(&self.params);
        }
        let number = u32::try_from(state.indexes.len()).expect("a pack holds few batches");
        let place = IndexPlace { pack: state.open, batch: number };
        let start = state.bytes().len() as u64;
        let mut laid_out = state.chain.lay_out(&[&batch], place, start);
        let bytes = state.bytes();
        batch.records.iter().for_each(|record| bytes.extend_from_slice(record.bytes()));
        bytes.extend_from_slice(&laid_out.index);
        state.chain.advance(&laid_out);
        let extents = laid_out.extents.pop().expect("one batch was laid out");
        state.indexes.push(laid_out.index);
        Ok(Receipt { extents })
    }

    async fn read(&self, extent: Extent) -> Result<Bytes> {
        let start = usize::try_from(extent.offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(extent.length as usize);
        let state = self.state.lock();
        let bytes = state.packs.get(&extent.pack).ok_or_else(|| no_pack(extent.pack))?;
        bytes
            .get(start..end)
            .map(Bytes::copy_from_slice)
            .ok_or_else(|| Error::corrupt(format!("pack {} ends before {end}", extent.pack)))
    }

    async fn list(&self) -> Result<Vec<PackInfo>> {
        let state = self.state.lock();
        let info = |(pack, bytes): (&PackId, &Vec<u8>)| PackInfo {
            pack: *pack,
            bytes: bytes.len() as u64,
            open: *pack == state.open,
        };
        Ok(state.packs.iter().map(info).collect())
    }

    async fn holds(&self, pack: PackId) -> Result<bool> {
        Ok(self.state.lock().packs.contains_key(&pack))
    }

    async fn footer(&self, pack: PackId) -> Result<Option<PackContents>> {
        let contents = self.summary(pack).await?;
        Ok(Some(contents).filter(|contents| contents.end == PackEnd::Closed))
    }

    async fn summary(&self, pack: PackId) -> Result<PackContents> {
        let state = self.state.lock();
        let bytes = state.packs.get(&pack).ok_or_else(|| no_pack(pack))?;
        Ok(read_pack_of(pack, &&bytes[..], &self.params.vault_key))
    }

    async fn remove(&self, pack: PackId) -> Result<()> {
        let mut state = self.state.lock();
        if state.open == pack {
            return Err(Error::new(ErrorKind::InvalidInput, "the open pack can't be removed"));
        }
        state.packs.remove(&pack);
        Ok(())
    }

    fn read_now(&self, pack: PackId, offset: u64, buffer: &mut [u8]) -> Result<bool> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let state = self.state.lock();
        let bytes = state.packs.get(&pack);
        let bytes = bytes.and_then(|bytes| bytes.get(start..start.saturating_add(buffer.len())));
        let Some(bytes) = bytes else { return Ok(false) };
        buffer.copy_from_slice(bytes);
        Ok(true)
    }

    fn take_closed(&self) -> Vec<PackId> {
        std::mem::take(&mut self.state.lock().closed)
    }

    fn acknowledge(&self, sequence: u64) {
        self.acknowledged.fetch_max(sequence, Ordering::SeqCst);
    }
}

fn no_pack(pack: PackId) -> Error {
    Error::new(ErrorKind::NotFound, format!("pack {pack}"))
}
