//! What lay in packs that are gone, of which the catalog's rows alone know.

use std::collections::HashMap;

use super::{Damage, Damaged, Scrub};
use crate::{
    Error, Result,
    catalog::{Fold, PAGE_ITEMS_MAX, Row, ScanRange, Table},
    chunk::{ChunkId, ChunkRow},
    ids::{DomainId, ManifestId, PackId},
    manifest::ManifestRow,
    pack::{IndexEntry, RecordName},
    vault::{CHUNKS, Inner, MANIFESTS},
};

impl Inner {
    /// Looks at every row for a pack that is gone, and mends what lay there where a second copy has it.
    pub(super) async fn scrub_missing(&self, scrub: &mut Scrub) -> Result<()> {
        let mut here = HashMap::new();
        self.missing_of(CHUNKS, chunk, &mut here, scrub).await?;
        self.missing_of(MANIFESTS, manifest, &mut here, scrub).await
    }

    async fn missing_of(
        &self,
        table: Table,
        place: impl Fn(&Row) -> Result<(PackId, IndexEntry)>,
        here: &mut HashMap<PackId, bool>,
        scrub: &mut Scrub,
    ) -> Result<()> {
        let mut range = ScanRange::prefix(table, []);
        loop {
            let page = self.catalog.scan(&range, &Fold::default(), PAGE_ITEMS_MAX).await?;
            let next = page.next.clone();
            for row in page.rows() {
                // One that can't be read is told where it is met: scrubs go on.
                let Ok((pack, entry)) = place(&row) else { continue };
                let held = match here.get(&pack) {
                    Some(held) => *held,
                    None => *here.entry(pack).or_insert(self.chunks.holds(pack).await?),
                };
                if held {
                    continue;
                }
                match self.mend(pack, entry, scrub).await? {
                    // Compaction moved it before the pack went.
                    Damaged::Dead => {}
                    what => scrub.found(Damage { pack, offset: entry.offset, what }),
                }
            }
            match next {
                Some(next) => range = range.from(next),
                None => return Ok(()),
            }
        }
    }
}

fn chunk(row: &Row) -> Result<(PackId, IndexEntry)> {
    let key = || Error::corrupt("the key of a chunk's row");
    let (domain, id) = row.key.split_first_chunk().ok_or_else(key)?;
    let id = ChunkId(id.try_into().map_err(|_| key())?);
    let stored = ChunkRow::decode(&row.value)?;
    let length = u32::try_from(stored.header(id).record_bytes());
    let length = length.map_err(|_| Error::corrupt("length of a chunk"))?;
    let name = RecordName::Chunk(DomainId(*domain), id);
    Ok((stored.pack, IndexEntry { name, offset: stored.offset, length }))
}

fn manifest(row: &Row) -> Result<(PackId, IndexEntry)> {
    let id = row.key[..].try_into().map(ManifestId);
    let id = id.map_err(|_| Error::corrupt("the row of a manifest"))?;
    let ManifestRow { pack, offset, length, .. } = ManifestRow::decode(&row.value)?;
    Ok((pack, IndexEntry { name: RecordName::Manifest(id), offset, length }))
}
