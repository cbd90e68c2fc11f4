//! The one thread of a local store that writes: it takes all waiting batches, writes them, syncs
//! once, and answers all.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::{
    BATCH_BYTES_MAX, BATCH_ENTRIES_MAX, Extent, PACK_BYTES_MAX, PACK_ENTRIES_MAX, Receipt,
    assemble::Chain, files::PackFiles,
};
use crate::{
    Error, ErrorKind, Result,
    disk::{DiskFile, write_all},
    error,
    ids::PackId,
    pack::{Batch, IndexPlace, PACK_HEADER_BYTES, PackHeader, footer, footer_bytes},
};

/// Bytes of waiting batches that are written as one group; a larger batch is a group of its own.
const GROUP_BYTES_MAX: u64 = 32 << 20;

/// Room that is left for the index of a group when it is decided whether a pack still holds it.
const INDEX_ROOM_BYTES: u64 = 1 << 10;

/// Stored bytes of one thing that an index names, at most.
const INDEX_ENTRY_BYTES: u64 = 64;

/// A batch that waits, and who waits for it.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) batch: Batch,
    pub(super) answer: oneshot::Sender<Result<Receipt>>,
}

/// The open pack.
#[derive(Debug)]
struct OpenPack {
    id: PackId,
    file: Box<dyn DiskFile>,
    /// The header, until it is written with the first group.
    unwritten: Vec<u8>,
    length: u64,
    entries: usize,
    indexes: Vec<Vec<u8>>,
    index_bytes: u64,
}

/// What the writer has in hand, for those who must leave it alone, and what it let go.
#[derive(Debug, Default)]
pub(super) struct InHand {
    open: Mutex<Option<PackId>>,
    /// Packs that were closed and that nobody has asked for yet.
    closed: Mutex<Vec<PackId>>,
}

impl InHand {
    /// The open pack.
    pub(super) fn open(&self) -> Option<PackId> {
        *self.open.lock()
    }

    /// The packs that were closed since the last call.
    pub(super) fn take_closed(&self) -> Vec<PackId> {
        std::mem::take(&mut *self.closed.lock())
    }

    fn begins(&self, pack: PackId) {
        *self.open.lock() = Some(pack);
    }

    fn lets_go(&self) {
        *self.open.lock() = None;
    }
}

#[derive(Debug)]
pub(super) struct Writer {
    files: Arc<PackFiles>,
    pack_bytes_max: u64,
    chain: Chain,
    open: Option<OpenPack>,
    in_hand: Arc<InHand>,
}

impl Writer {
    pub(super) fn new(files: Arc<PackFiles>, chain: Chain, in_hand: Arc<InHand>) -> Self {
        Self { files, pack_bytes_max: PACK_BYTES_MAX, chain, open: None, in_hand }
    }

    /// The same, closing packs at so many bytes.
    pub(super) fn closing_at(self, pack_bytes_max: u64) -> Self {
        Self { pack_bytes_max: pack_bytes_max.min(PACK_BYTES_MAX), ..self }
    }

    /// Serves until all senders are gone, then closes the open pack.
    pub(super) fn run(mut self, mut waiting: mpsc::Receiver<Waiting>) {
        let mut held = None;
        while let Some(first) = held.take().or_else(|| waiting.blocking_recv()) {
            let (mut bytes, mut entries) = (0, 0);
            let mut group = Vec::new();
            let mut next = Some(first);
            while let Some(one) = next {
                bytes += one.batch.record_bytes();
                entries += one.batch.entry_count();
                if !group.is_empty() && (bytes > GROUP_BYTES_MAX || entries > BATCH_ENTRIES_MAX) {
                    held = Some(one);
                    break;
                }
                group.push(one);
                next = waiting.try_recv().ok();
            }
            self.append_group(group);
        }
        self.close();
    }

    fn append_group(&mut self, group: Vec<Waiting>) {
        let (batches, answers): (Vec<_>, Vec<_>) =
            group.into_iter().map(|waiting| (waiting.batch, waiting.answer)).unzip();
        let batches: Vec<_> = batches.iter().collect();
        match self.append(&batches) {
            Ok(extents) => {
                for (answer, extents) in answers.into_iter().zip(extents) {
                    // Who no longer waits leaves records that nothing refers to.
                    let _ = answer.send(Ok(Receipt { extents }));
                }
            }
            Err(cause) => {
                tracing::error!(kind = %cause.kind(), "a pack can't be written; it is given up");
                self.open = None;
                self.in_hand.lets_go();
                self.chain.fail(&batches);
                for answer in answers {
                    let _ = answer.send(Err(append_error(&cause)));
                }
            }
        }
    }

    /// Writes and syncs one group. After an error nothing may be added to the open pack.
    fn append(&mut self, batches: &[&Batch]) -> io::Result<Vec<Vec<Extent>>> {
        let entries: usize = batches.iter().map(|batch| batch.entry_count()).sum();
        let bytes: u64 = batches.iter().map(|batch| batch.record_bytes()).sum();
        let room = bytes + INDEX_ROOM_BYTES + 2 * INDEX_ENTRY_BYTES * entries as u64;
        let max = self.pack_bytes_max;
        if self.open.as_ref().is_some_and(|open| !open.has_room(room, entries, max)) {
            self.close();
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(create(&self.files, &self.chain, &self.in_hand)?),
        };
        let start = open.length + open.unwritten.len() as u64;
        let batch = u32::try_from(open.indexes.len()).expect("a pack holds few batches");
        let laid_out = self.chain.lay_out(batches, IndexPlace { pack: open.id, batch }, start);
        let records = batches.iter().flat_map(|batch| &batch.records);
        let records = records.map(|record| IoSlice::new(record.bytes()));
        let mut slices = vec![IoSlice::new(&open.unwritten)];
        slices.extend(records);
        slices.push(IoSlice::new(&laid_out.index));
        write_all(&*open.file, &mut slices)?;
        open.file.sync_data()?;
        open.length = start + bytes + laid_out.index.len() as u64;
        open.unwritten.clear();
        open.entries += entries;
        open.index_bytes += laid_out.index.len() as u64;
        self.chain.advance(&laid_out);
        open.indexes.push(laid_out.index);
        Ok(laid_out.extents)
    }

    /// Writes the footer of the open pack. A pack without one is as good, only slower to recover.
    fn close(&mut self) {
        let open = self.open.take();
        if let Some(open) = open.filter(|open| !open.indexes.is_empty()) {
            let footer = footer(open.length, &open.indexes);
            let closed = write_all(&*open.file, &mut [IoSlice::new(&footer)])
                .and_then(|()| open.file.sync_data());
            match closed {
                Ok(()) => self.in_hand.closed.lock().push(open.id),
                Err(cause) => {
                    tracing::warn!(kind = %cause.kind(), "a pack is left without its footer");
                }
            }
        }
        self.in_hand.lets_go();
    }
}

impl OpenPack {
    fn has_room(&self, bytes: u64, entries: usize, pack_bytes_max: u64) -> bool {
        let index_count = self.indexes.len() as u64 + 1;
        let footer = footer_bytes(self.index_bytes + INDEX_ROOM_BYTES, index_count);
        self.length + bytes + footer <= pack_bytes_max && self.entries + entries <= PACK_ENTRIES_MAX
    }
}

fn create(files: &PackFiles, chain: &Chain, in_hand: &InHand) -> io::Result<OpenPack> {
    let params = chain.params();
    let id = PackId::draw(&*params.entropy);
    // Said before the file is there: whoever lists the directory must not take it for a closed one.
    in_hand.begins(id);
    let file = files.create(id)?;
    let unwritten = PackHeader { pack: id, writer: params.writer }.encode();
    assert_eq!(unwritten.len(), PACK_HEADER_BYTES, "a pack begins with its header");
    let indexes = Vec::new();
    Ok(OpenPack { id, file, unwritten, length: 0, entries: 0, indexes, index_bytes: 0 })
}

/// The same failure for everyone who waited for the group.
fn append_error(cause: &io::Error) -> Error {
    let again = io::Error::new(cause.kind(), cause.to_string());
    match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => {
            Error::new(ErrorKind::Unavailable, "append to a pack").because(again)
        }
        _ => error::io("append to a pack")(again),
    }
}

const _: () = assert!(BATCH_BYTES_MAX + (64 << 20) < PACK_BYTES_MAX);
const _: () = assert!(BATCH_ENTRIES_MAX <= PACK_ENTRIES_MAX);
