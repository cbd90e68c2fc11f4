//! The keyless half: every byte of a pack against its checksums.

use bytes::Bytes;

use super::{Damage, Damaged, Pace, Scrub};
use crate::{
    ErrorKind, Result,
    chunk_store::{Extent, PackInfo},
    ids::PackId,
    pack::{BatchIndex, IndexEntry, PackContents, PackEnd, ReadBatch, SealedRecord},
    vault::Inner,
};

/// Bytes that are read at once.
const READ_BYTES: u64 = 8 << 20;

impl Inner {
    pub(super) async fn scrub_pack(
        &self,
        pack: PackInfo,
        scrub: &mut Scrub,
        pace: &Pace<'_>,
    ) -> Result<()> {
        let frame = |offset| Damage { pack: pack.pack, offset, what: Damaged::Frame };
        let contents = match self.chunks.summary(pack.pack).await {
            Err(cause) if cause.kind() != ErrorKind::NotFound => {
                tracing::error!(pack = %pack.pack, %cause, "a pack can't be read");
                scrub.found(frame(0));
                return Ok(());
            }
            contents => contents?,
        };
        for damaged in contents.damaged.iter().chain(&contents.unread) {
            scrub.found(frame(damaged.start));
        }
        for batch in &contents.batches {
            let entries = &batch.index.records[..];
            let mut at = 0;
            while at < entries.len() {
                let many = stretch(&entries[at..]);
                self.scrub_stretch(pack.pack, &entries[at..at + many], scrub, pace).await?;
                at += many;
            }
            // An open pack is read whole by its summary, which opens every index.
            if contents.end == PackEnd::Closed && !self.index_is_sound(&contents, batch).await? {
                scrub.found(frame(batch.index.records_end()));
            }
        }
        scrub.bytes += pack.bytes;
        Ok(())
    }

    /// Checks records that lie one behind the other.
    async fn scrub_stretch(
        &self,
        pack: PackId,
        entries: &[IndexEntry],
        scrub: &mut Scrub,
        pace: &Pace<'_>,
    ) -> Result<()> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(()) };
        let began = pace.now();
        let bytes = last.offset + u64::from(last.length) - first.offset;
        let length = u32::try_from(bytes).expect("a stretch is a few MiB");
        let stored = match self.chunks.read(Extent { pack, offset: first.offset, length }).await {
            Ok(stored) => Some(stored),
            // A sector that can't be read, or a pack cut short: record by record, to tell which.
            Err(cause) if cause.kind() != ErrorKind::NotFound && entries.len() > 1 => None,
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Err(cause),
            Err(_) => Some(Bytes::new()),
        };
        let Some(stored) = stored else {
            for entry in entries {
                Box::pin(self.scrub_stretch(pack, std::slice::from_ref(entry), scrub, pace))
                    .await?;
            }
            return Ok(());
        };
        let damaged = damaged_of(entries, &stored);
        scrub.records += entries.len() as u64;
        for entry in damaged {
            let what = self.mend(pack, entry, scrub).await?;
            scrub.found(Damage { pack, offset: entry.offset, what });
        }
        pace.rest(bytes, began).await;
        Ok(())
    }

    /// Whether the index of a closed pack's batch is the one that the footer repeats.
    async fn index_is_sound(&self, contents: &PackContents, batch: &ReadBatch) -> Result<bool> {
        let (pack, offset) = (contents.header.pack, batch.index.records_end());
        let next =
            contents.batches.iter().map(|batch| batch.index.start).find(|start| *start > offset);
        let Some(end) = next else { return Ok(true) };
        let length = u32::try_from(end - offset).expect("an index is a few MiB");
        let Ok(record) = self.chunks.read(Extent { pack, offset, length }).await else {
            return Ok(false);
        };
        let opened = BatchIndex::open(&record, pack, self.keys.vault_key());
        Ok(opened.is_ok_and(|(number, index)| number == batch.number && index == batch.index))
    }
}

/// How many of the first entries are read at once.
fn stretch(entries: &[IndexEntry]) -> usize {
    let mut bytes = 0;
    let many = entries.iter().take_while(|entry| {
        bytes += u64::from(entry.length);
        bytes <= READ_BYTES
    });
    many.count().max(1)
}

fn damaged_of(entries: &[IndexEntry], stored: &Bytes) -> Vec<IndexEntry> {
    let first = entries.first().map_or(0, |entry| entry.offset);
    let sound = |entry: &IndexEntry| {
        let start = usize::try_from(entry.offset - first).expect("a stretch is in memory");
        let record = stored.get(start..start + entry.length as usize);
        record.is_some_and(|record| {
            SealedRecord::stored(entry.name, stored.slice_ref(record)).is_ok()
        })
    };
    entries.iter().filter(|entry| !sound(entry)).copied().collect()
}
