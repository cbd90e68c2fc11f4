//! What is done about a damaged record: mended from a second copy, else quarantined.

use super::{Damaged, Scrub};
use crate::{
    Error, ErrorKind, Result,
    catalog::{Commit, Durability, Outcome, Row, RowKey},
    chunk::{ChunkHeader, ChunkId, ChunkRow},
    chunk_store::Extent,
    ids::PackId,
    manifest::ManifestRow,
    pack::{Batch, IndexEntry, RecordName, SealedRecord},
    vault::{Inner, choose::QUARANTINED, chunk_row, manifest_row, reassert::split},
};

impl Inner {
    /// Deals with the damaged record `entry`; says what it was to the vault.
    pub(super) async fn mend(
        &self,
        pack: PackId,
        entry: IndexEntry,
        scrub: &mut Scrub,
    ) -> Result<Damaged> {
        let key = match entry.name {
            RecordName::Chunk(domain, id) => chunk_row(domain, id),
            RecordName::Manifest(id) => manifest_row(id),
        };
        let found =
            self.catalog.read(std::slice::from_ref(&key)).await?.into_iter().next().flatten();
        let Some(found) = found else { return Ok(Damaged::Dead) };
        let place = match entry.name {
            RecordName::Chunk(..) => {
                ChunkRow::decode(&found.value).map(|row| (row.pack, row.offset))
            }
            RecordName::Manifest(_) => {
                ManifestRow::decode(&found.value).map(|row| (row.pack, row.offset))
            }
        };
        if place? != (pack, entry.offset) {
            return Ok(Damaged::Dead);
        }
        match self.record_of_copy(pack, entry, &found).await {
            Ok(record) => {
                self.replace(record, key, found).await?;
                scrub.mended += 1;
            }
            Err(cause) => {
                tracing::warn!(%pack, offset = entry.offset, %cause, "a record can't be mended");
                // A pack that is gone may come back, and nothing is chosen from it meanwhile.
                if self.chunks.holds(pack).await? {
                    self.quarantine(key, found).await?;
                }
            }
        }
        Ok(Damaged::of(entry.name))
    }

    /// The record from the second copy, when that is sound and the same sealing.
    async fn record_of_copy(
        &self,
        pack: PackId,
        entry: IndexEntry,
        row: &Row,
    ) -> Result<SealedRecord> {
        let none = || Error::new(ErrorKind::NotFound, "no second copy is configured");
        let copy = self.copy.as_ref().ok_or_else(none)?;
        let extent = Extent { pack, offset: entry.offset, length: entry.length };
        let record = SealedRecord::stored(entry.name, copy.read(extent).await?)?;
        if let RecordName::Chunk(_, id) = entry.name {
            let expected = ChunkRow::decode(&row.value)?.header(id);
            if ChunkHeader::decode(record.bytes())? != expected {
                return Err(Error::corrupt("another sealing of the chunk"));
            }
        }
        Ok(record)
    }

    /// Appends a mended record and lets its row name the new place.
    async fn replace(&self, record: SealedRecord, key: RowKey, row: Row) -> Result<()> {
        let name = record.name();
        let _appending = self.in_flight.appending();
        let receipt =
            self.chunks.append(Batch { records: vec![record], ..Batch::default() }).await?;
        self.in_flight.copied();
        let Extent { pack, offset, .. } = receipt.extents()[0];
        let value = match name {
            RecordName::Chunk(..) => {
                let row = ChunkRow::decode(&row.value)?;
                // What was quarantined may be chosen again from the next use on.
                let gc_epoch = row.gc_epoch.max(QUARANTINED + 1);
                ChunkRow { pack, offset, gc_epoch, ..row }.encode()
            }
            RecordName::Manifest(_) => {
                ManifestRow { pack, offset, ..ManifestRow::decode(&row.value)? }.encode()
            }
        };
        let mut commit = Commit::new();
        commit.unchanged(key.clone(), row.version).put(key, value);
        match self.catalog.commit(commit).await? {
            Outcome::Applied { version } => {
                self.chunks.acknowledge(version);
                Ok(())
            }
            // It ended or was moved meanwhile; the copy of a manifest must not outlive its void.
            Outcome::Conflict(_) => match name {
                RecordName::Manifest(id) => self.void(split(self, &[id]).await?.1).await,
                RecordName::Chunk(..) => Ok(()),
            },
            Outcome::Unknown => Err(Error::new(ErrorKind::Unavailable, "the row of a record")),
        }
    }

    /// Takes a chunk out of what may be chosen; of a manifest nothing can be done here.
    async fn quarantine(&self, key: RowKey, found: Row) -> Result<()> {
        if key.table != crate::vault::CHUNKS {
            return Ok(());
        }
        let row = ChunkRow { gc_epoch: QUARANTINED, ..ChunkRow::decode(&found.value)? };
        let mut commit = Commit { durability: Durability::Ordered, ..Commit::new() };
        commit.unchanged(key.clone(), found.version).put(key, row.encode());
        match self.catalog.commit(commit).await? {
            // A row that changed is of another record, or is looked at again by the next scrub.
            Outcome::Applied { .. } | Outcome::Conflict(_) => Ok(()),
            Outcome::Unknown => Err(Error::new(ErrorKind::Unavailable, "the row of a chunk")),
        }
    }

    /// Quarantines the chunk whose record at `place` did not open, if its row still names that place.
    pub(in crate::vault) async fn quarantine_at(
        &self,
        (domain, id): (crate::ids::DomainId, ChunkId),
        place: (PackId, u64),
    ) -> Result<()> {
        let key = chunk_row(domain, id);
        let found =
            self.catalog.read(std::slice::from_ref(&key)).await?.into_iter().next().flatten();
        let Some(found) = found else { return Ok(()) };
        let row = ChunkRow::decode(&found.value)?;
        if (row.pack, row.offset) == place && row.gc_epoch != QUARANTINED {
            self.quarantine(key, found).await?;
        }
        Ok(())
    }
}
