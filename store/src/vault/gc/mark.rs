//! Marking: every chunk that a committed manifest names.

use std::{collections::BTreeSet, ops::Range};

use futures::{StreamExt, stream};

use super::{Marks, PackUse};
use crate::{
    Error, ErrorKind, Result,
    catalog::{Fold, PAGE_ITEMS_MAX, Row, ScanRange},
    chunk_store::Extent,
    ids::{DomainId, ManifestId, StoreId},
    manifest::{ManifestHead, ManifestReader, ManifestRow},
    vault::{CHUNKS, Inner, MANIFESTS, manifest_row},
};

/// Manifests that are read at once.
const AT_ONCE: usize = 8;

/// Entries that are read at once.
const ENTRIES: u32 = 8 << 10;

/// Bytes of a manifest's record that are read at once at first: most manifests are smaller.
const FIRST_BYTES: u32 = 8 << 10;

/// What marking found.
#[derive(Debug, Default)]
pub(super) struct Marked {
    pub(super) manifests: u64,
    /// Stores with a manifest that could not be opened.
    pub(super) skipped: BTreeSet<StoreId>,
    /// The domains of these: nothing of them may be dropped.
    pub(super) spared: BTreeSet<DomainId>,
}

/// A manifest whose chunks are not known.
struct Closed(StoreId);

impl Inner {
    /// How many rows of chunks there are.
    pub(super) async fn count_chunks(&self) -> Result<u64> {
        let mut count = 0;
        let mut range = ScanRange::prefix(CHUNKS, []);
        loop {
            let page = self.catalog.scan(&range, &Fold::default(), PAGE_ITEMS_MAX).await?;
            count += page.items.len() as u64;
            let Some(next) = page.next else { return Ok(count) };
            range = range.from(next);
        }
    }

    /// Marks the chunks of every committed manifest, page by page.
    ///
    /// # Errors
    /// `Corrupt` when a manifest is so damaged that even its store is not known: nothing may be dropped then.
    pub(super) async fn mark(&self, marks: &Marks, packs: &mut PackUse) -> Result<Marked> {
        let mut marked = Marked::default();
        let mut range = ScanRange::prefix(MANIFESTS, []);
        loop {
            let page = self.catalog.scan(&range, &Fold::default(), PAGE_ITEMS_MAX).await?;
            let next = page.next.clone();
            let mut walks = stream::iter(page.rows())
                .map(|row| self.mark_manifest(marks, row))
                .buffer_unordered(AT_ONCE);
            while let Some(walked) = walks.next().await {
                let (row, closed) = walked?;
                marked.manifests += 1;
                packs.add(row.pack, u64::from(row.length));
                if let Some(Closed(store)) = closed {
                    marked.skipped.insert(store);
                    marked.spared.extend(self.keys.domains_of(store));
                }
            }
            drop(walks);
            match next {
                Some(next) => range = range.from(next),
                None => return Ok(marked),
            }
        }
    }

    async fn mark_manifest(
        &self,
        marks: &Marks,
        row: Row,
    ) -> Result<(ManifestRow, Option<Closed>)> {
        let id = row.key[..].try_into().map(ManifestId);
        let id = id.map_err(|_| Error::corrupt("the row of a manifest"))?;
        let row = ManifestRow::decode(&row.value)?;
        match self.mark_at(marks, id, row).await {
            // Deleted meanwhile, and perhaps compacted away: it names nothing any more.
            Err(cause) if cause.kind() == ErrorKind::NotFound => {
                self.mark_moved(marks, id, row).await
            }
            walked => walked,
        }
    }

    async fn mark_moved(
        &self,
        marks: &Marks,
        id: ManifestId,
        was: ManifestRow,
    ) -> Result<(ManifestRow, Option<Closed>)> {
        let found = self.catalog.read(&[manifest_row(id)]).await?.into_iter().next().flatten();
        match found {
            None => Ok((was, None)),
            Some(found) => self.mark_at(marks, id, ManifestRow::decode(&found.value)?).await,
        }
    }

    async fn mark_at(
        &self,
        marks: &Marks,
        id: ManifestId,
        row: ManifestRow,
    ) -> Result<(ManifestRow, Option<Closed>)> {
        let first =
            self.stored(row, 0..u64::from(row.length.min(row.head_bytes.max(FIRST_BYTES)))).await?;
        let head = ManifestHead::open(&first, self.keys.vault_key())?;
        if head.manifest() != id {
            return Err(Error::corrupt("the record of another manifest"));
        }
        let store = head.id().store;
        let walked = self.mark_body(marks, head, (row, first)).await;
        match walked {
            Ok(()) => Ok((row, None)),
            Err(cause) if cause.kind() == ErrorKind::NotFound => Err(cause),
            Err(cause)
                if matches!(cause.kind(), ErrorKind::Corrupt | ErrorKind::KeyUnavailable) =>
            {
                tracing::warn!(manifest = %id, kind = ?cause.kind(), "a manifest can't be walked");
                Ok((row, Some(Closed(store))))
            }
            Err(cause) => Err(cause),
        }
    }

    async fn mark_body(
        &self,
        marks: &Marks,
        head: ManifestHead,
        (row, first): (ManifestRow, bytes::Bytes),
    ) -> Result<()> {
        let key = match self.keys.item_key_of(head.id(), head.key()).await {
            // A store without a key: nobody will ever open this.
            Err(cause) if cause.kind() == ErrorKind::NotFound => {
                return Err(Error::new(ErrorKind::KeyUnavailable, "key of a store").because(cause));
            }
            key => key?,
        };
        let fetch = async |range: Range<u64>| match first.get(narrow(&range)?) {
            Some(bytes) => Ok(first.slice_ref(bytes)),
            None => self.stored(row, range).await,
        };
        let manifest = ManifestReader::open(head, &key, fetch).await?;
        let (mut start, count) = (0, manifest.entry_count());
        while start < count {
            let end = count.min(start + ENTRIES);
            let entries = manifest.entries(start..end, fetch).await?;
            entries.iter().for_each(|entry| marks.add(entry.id.into()));
            start = end;
        }
        Ok(())
    }

    /// Stored bytes of a manifest's record.
    async fn stored(&self, row: ManifestRow, range: Range<u64>) -> Result<bytes::Bytes> {
        if range.end > u64::from(row.length) || range.start > range.end {
            return Err(Error::corrupt("range of a manifest record"));
        }
        let length = u32::try_from(range.end - range.start).expect("a record is below 4 GiB");
        self.chunks.read(Extent { pack: row.pack, offset: row.offset + range.start, length }).await
    }
}

fn narrow(range: &Range<u64>) -> Result<Range<usize>> {
    let narrow = |at: u64| usize::try_from(at).map_err(|_| Error::corrupt("range of a record"));
    Ok(narrow(range.start)?..narrow(range.end)?)
}
