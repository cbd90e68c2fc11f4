//! Sweeping: dropping the rows of chunks that nothing names.

use std::collections::BTreeSet;

use super::{Cycle, GcOptions, Marks, PackUse, state::Lease};
use crate::{
    Error, ErrorKind, Result,
    catalog::{Commit, Durability, Fold, Outcome, PAGE_ITEMS_MAX, Row, RowKey, ScanRange},
    chunk::{ChunkId, ChunkRow},
    ids::{DomainId, PackId},
    vault::{CHUNKS, Inner},
};

/// Epochs that a row must be old: one for the cycle that it was chosen in, one for the cycle that runs.
const AGE: u32 = 2;

/// A row that nothing names.
struct Dead {
    row: RowKey,
    version: u64,
    pack: PackId,
    bytes: u64,
}

impl Inner {
    /// Drops every row of a chunk that is unmarked, old, and of no domain in `spared`.
    pub(super) async fn sweep(
        &self,
        lease: &Lease,
        (marks, spared): (&Marks, &BTreeSet<DomainId>),
        options: GcOptions,
        (packs, cycle): (&mut PackUse, &mut Cycle),
    ) -> Result<()> {
        let mut range = ScanRange::prefix(CHUNKS, []);
        loop {
            let page = self.catalog.scan(&range, &Fold::default(), PAGE_ITEMS_MAX).await?;
            let next = page.next.clone();
            let mut dead = Vec::new();
            for row in page.rows() {
                let (domain, id, chunk) = parse(&row)?;
                let bytes = chunk.header(id).record_bytes();
                let old = chunk.gc_epoch.saturating_add(AGE) <= lease.epoch;
                if old && !spared.contains(&domain) && !marks.has(id.into()) {
                    let (row, version) = (RowKey::new(CHUNKS, row.key), row.version);
                    dead.push(Dead { row, version, pack: chunk.pack, bytes });
                } else {
                    cycle.chunks_kept += 1;
                }
                packs.add(chunk.pack, bytes);
            }
            if !options.dry_run {
                dead = self.drop_rows(lease, dead).await?;
            }
            // Not those that were chosen meanwhile.
            dead.iter().for_each(|dead| packs.forget(dead.pack, dead.bytes));
            cycle.chunks_dropped += dead.len() as u64;
            cycle.bytes_dropped += dead.iter().map(|dead| dead.bytes).sum::<u64>();
            match next {
                Some(next) => range = range.from(next),
                None => return Ok(()),
            }
        }
    }

    /// Drops the rows, each only as it was read; gives those that were.
    async fn drop_rows(&self, lease: &Lease, mut dead: Vec<Dead>) -> Result<Vec<Dead>> {
        while !dead.is_empty() {
            let mut commit = Commit { durability: Durability::Ordered, ..Commit::new() };
            lease.guard(&mut commit);
            for Dead { row, version, .. } in &dead {
                commit.unchanged(row.clone(), *version).delete(row.clone());
            }
            match self.catalog.commit(commit).await? {
                Outcome::Applied { .. } => break,
                // Chosen meanwhile.
                Outcome::Conflict(row) if row.table == CHUNKS => {
                    dead.retain(|dead| dead.row != row)
                }
                Outcome::Conflict(_) | Outcome::Unknown => {
                    return Err(Error::new(ErrorKind::Unavailable, "another GC cycle began"));
                }
            }
        }
        Ok(dead)
    }
}

/// Domain and name of a chunk, and where it lies.
fn parse(row: &Row) -> Result<(DomainId, ChunkId, ChunkRow)> {
    let malformed = || Error::corrupt("the row of a chunk");
    let (domain, id) = row.key.split_first_chunk::<16>().ok_or_else(malformed)?;
    let id = ChunkId(id.try_into().map_err(|_| malformed())?);
    Ok((DomainId(*domain), id, ChunkRow::decode(&row.value)?))
}
