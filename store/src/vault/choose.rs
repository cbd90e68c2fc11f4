//! Choosing chunks that are stored already, so that no GC cycle takes them away meanwhile.

use std::collections::HashMap;

use super::{Inner, chunk_row, in_flight::Hold};
use crate::{
    Error, ErrorKind, Result,
    catalog::{Commit, Durability, Outcome, Row, RowKey},
    chunk::{ChunkIdentity, ChunkRef, ChunkRow},
    ids::PackId,
};

/// The epoch of a row whose record failed a check: it is no target for reuse, and the next upload of the
/// chunk replaces it.
pub(super) const QUARANTINED: u32 = 0;

/// Rows that one commit raises.
const RAISE_ROWS: usize = 1024;

/// Times that a row which changes meanwhile is looked at again.
const TRIES: usize = 16;

impl Inner {
    /// Whether the chunk is stored and may be referred to; its row is of the current epoch then.
    pub(super) async fn reuse(&self, identity: &ChunkIdentity, hold: &Hold) -> Result<bool> {
        hold.chunk(identity.id());
        let key = chunk_row(identity.domain(), identity.id());
        for _ in 0..TRIES {
            let found = self.catalog.read(std::slice::from_ref(&key)).await?;
            let Some(found) = found.into_iter().next().flatten() else { return Ok(false) };
            let Ok(row) = ChunkRow::decode(&found.value) else { return Ok(false) };
            if row.gc_epoch == QUARANTINED || !identity.commits_to(&row.commitment) {
                return Ok(false);
            }
            if self.is_gone(&key, row.pack).await? {
                return Ok(false);
            }
            let stale = HashMap::from([(key.clone(), (found, row))]);
            if self.raise(stale).await? {
                return Ok(true);
            }
        }
        Err(contended())
    }

    /// Makes sure that the chunks of `entries`, which a stored manifest names, stay while another manifest
    /// comes to name them.
    ///
    /// # Errors
    /// `NotFound` when one is gone: then so is every manifest that named it. `Corrupt` when one is damaged.
    pub(super) async fn keep(&self, entries: &[ChunkRef], hold: &Hold) -> Result<()> {
        entries.iter().for_each(|entry| hold.chunk(entry.id));
        for some in entries.chunks(RAISE_ROWS) {
            let mut tries = 0..TRIES;
            while !self.raise(self.rows_of(some).await?).await? {
                tries.next().ok_or_else(contended)?;
            }
        }
        Ok(())
    }

    async fn rows_of(&self, entries: &[ChunkRef]) -> Result<HashMap<RowKey, (Row, ChunkRow)>> {
        let keys: Vec<_> = entries.iter().map(|entry| chunk_row(entry.domain, entry.id)).collect();
        let mut rows = HashMap::with_capacity(keys.len());
        for (key, found) in keys.iter().zip(self.catalog.read(&keys).await?) {
            let gone = || Error::new(ErrorKind::NotFound, "a chunk of a file that was deleted");
            let found = found.ok_or_else(gone)?;
            let row = ChunkRow::decode(&found.value)?;
            if row.gc_epoch == QUARANTINED {
                return Err(Error::corrupt(format!("pack {} at {}", row.pack, row.offset)));
            }
            if self.is_gone(key, row.pack).await? {
                return Err(Error::corrupt(format!("pack {} is missing", row.pack)));
            }
            rows.insert(key.clone(), (found, row));
        }
        Ok(rows)
    }

    /// Whether the pack that the row at `key` named just now is gone, and the row still names it: compaction moves
    /// rows before their pack goes. Such a row is not quarantined: the pack may come back.
    async fn is_gone(&self, key: &RowKey, pack: PackId) -> Result<bool> {
        if self.chunks.holds(pack).await? {
            return Ok(false);
        }
        let now = self.catalog.read(std::slice::from_ref(key)).await?.into_iter().next().flatten();
        Ok(now.is_some_and(|row| ChunkRow::decode(&row.value).is_ok_and(|row| row.pack == pack)))
    }

    /// Raises those of `rows` that are of an earlier epoch; false when one changed meanwhile.
    async fn raise(&self, rows: HashMap<RowKey, (Row, ChunkRow)>) -> Result<bool> {
        let epoch = self.epoch();
        let mut commit = Commit { durability: Durability::Ordered, ..Commit::new() };
        for (key, (found, mut row)) in rows {
            if row.gc_epoch < epoch {
                row.gc_epoch = epoch;
                commit.unchanged(key.clone(), found.version).put(key, row.encode());
            }
        }
        if commit.writes.is_empty() {
            return Ok(true);
        }
        match self.catalog.commit(commit).await? {
            Outcome::Applied { .. } => Ok(true),
            Outcome::Conflict(_) => Ok(false),
            Outcome::Unknown => Err(Error::new(ErrorKind::Unavailable, "the row of a chunk")),
        }
    }
}

fn contended() -> Error {
    Error::new(ErrorKind::Unavailable, "the row of a chunk keeps changing")
}
