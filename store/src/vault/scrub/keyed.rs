//! The keyed half: of a sample of files, every chunk is opened and its name computed again.

use readvault_ambient::random;

use super::{Damage, Damaged, Pace, Scrub};
use crate::{
    Error, ErrorKind, Result,
    catalog::{Fold, PAGE_ITEMS_MAX, Row, RowKey, ScanRange},
    chunk::{ChunkHeader, ChunkRef, ChunkRow, open_record},
    chunk_store::Extent,
    ids::{ManifestId, StoreId},
    manifest::{ManifestHead, ManifestRow},
    vault::{Inner, MANIFESTS, Store, chunk_row, manifest_row},
};

/// Entries that are looked up at once.
const ENTRIES: u32 = 256;

impl Inner {
    /// Opens every chunk of about `percent` of all files.
    pub(super) async fn open_sample(
        &self,
        percent: u8,
        scrub: &mut Scrub,
        pace: &Pace<'_>,
    ) -> Result<()> {
        let mut range = ScanRange::prefix(MANIFESTS, []);
        loop {
            let page = self.catalog.scan(&range, &Fold::default(), PAGE_ITEMS_MAX).await?;
            let next = page.next.clone();
            for row in page.rows() {
                let drawn = u64::from_le_bytes(random(&*self.entropy)) % 100;
                if drawn >= u64::from(percent) {
                    continue;
                }
                let id = row.key[..].try_into().map(ManifestId);
                let id = id.map_err(|_| Error::corrupt("the row of a manifest"))?;
                match self.open_all(id, scrub, pace).await {
                    Err(cause)
                        if cause.kind() == ErrorKind::NotFound
                            && !self.is_here(manifest_row(id), &row).await? => {}
                    Err(cause) if cause.kind() == ErrorKind::KeyUnavailable => {
                        scrub.closed_files += 1
                    }
                    // Not found without that: a key of its store or domain, or a row of its chunks, is lost.
                    Err(cause)
                        if matches!(cause.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) =>
                    {
                        let row = ManifestRow::decode(&row.value)?;
                        let what = Damaged::Manifest(id);
                        scrub.found(Damage { pack: row.pack, offset: row.offset, what });
                    }
                    opened => opened?,
                }
            }
            match next {
                Some(next) => range = range.from(next),
                None => return Ok(()),
            }
        }
    }

    async fn open_all(&self, id: ManifestId, scrub: &mut Scrub, pace: &Pace<'_>) -> Result<()> {
        let (store, account) = self.owner_of(id).await?;
        let open = self.open_anew(id).await?;
        let (mut start, count) = (0, open.manifest.entry_count());
        while start < count {
            let end = count.min(start + ENTRIES);
            let entries = open.entries(self, start..end).await?;
            for entry in &entries {
                let began = pace.now();
                let store = Store { account: account.clone(), id: store, domain: entry.domain };
                let bytes = self.open_chunk(&store, entry, scrub).await?;
                pace.rest(bytes, began).await;
            }
            start = end;
        }
        Ok(())
    }

    /// The store and account of a manifest.
    async fn owner_of(&self, id: ManifestId) -> Result<(StoreId, String)> {
        let row = self.manifest_row_of(id).await?;
        let length = row.head_bytes;
        let bytes = self.chunks.read(Extent { pack: row.pack, offset: row.offset, length }).await?;
        let head = ManifestHead::open(&bytes, self.keys.vault_key())?;
        Ok((head.id().store, head.id().account.clone()))
    }

    /// Whether the row of a manifest is as it was read and names a pack that is here: otherwise the file was moved or
    /// deleted meanwhile, or its row told of its pack.
    async fn is_here(&self, key: RowKey, row: &Row) -> Result<bool> {
        let now = self.catalog.read(&[key]).await?.into_iter().next().flatten();
        let pack = ManifestRow::decode(&row.value)?.pack;
        Ok(now.as_ref() == Some(row) && self.chunks.holds(pack).await?)
    }

    /// Opens one chunk; gives the bytes that were read for it.
    async fn open_chunk(&self, store: &Store, entry: &ChunkRef, scrub: &mut Scrub) -> Result<u64> {
        let domain = self.keys.open_epoch(store, entry.epoch).await?;
        let key = chunk_row(entry.domain, entry.id);
        let found = self.catalog.read(std::slice::from_ref(&key)).await?.into_iter().next();
        let gone = || Error::corrupt(format!("chunk {} has no row", entry.id));
        let found = found.flatten().ok_or_else(gone)?;
        let row = ChunkRow::decode(&found.value)?;
        let length = row.header(entry.id).record_bytes();
        let extent = Extent {
            pack: row.pack,
            offset: row.offset,
            length: u32::try_from(length).map_err(|_| Error::corrupt("length of a chunk"))?,
        };
        let opened = match self.chunks.read(extent).await {
            Ok(record) => {
                let (size, keys) = (domain.chunk_size(), domain.domain_keys());
                ChunkHeader::decode(&record).is_ok_and(|header| header == row.header(entry.id))
                    && open_record(&record, entry, size, keys).is_ok()
            }
            // Moved or deleted meanwhile; else its pack is gone, which its row told.
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(0),
            Err(_) => false,
        };
        scrub.opened += 1;
        if !opened {
            self.quarantine_at((entry.domain, entry.id), (row.pack, row.offset)).await?;
            let what = Damaged::Chunk;
            scrub.found(Damage { pack: row.pack, offset: row.offset, what });
        }
        Ok(length)
    }
}
