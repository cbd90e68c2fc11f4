//! Compaction: what lives in a pack with enough dead bytes moves to the open pack; then the file goes.
//!
//! Order: records appended and synced → rows moved, each only as it was read, synced → file removed. A kill
//! between any two leaves the rows at whichever copy they name. The new records' batch bridges the writer's
//! chain over the pack that goes.

use std::collections::HashSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{GcOptions, PackUse, voids::Voids};
use crate::{
    Error, ErrorKind, Result,
    catalog::{Commit, Outcome, Row, RowKey},
    chunk::ChunkRow,
    chunk_store::{BATCH_ENTRIES_MAX, Extent, PackInfo},
    ids::{ManifestId, PackId},
    manifest::ManifestRow,
    pack::{Batch, Bridge, IndexEntry, PackContents, PackEnd, RecordName, SealedRecord},
    vault::{Inner, PACKS, WRITERS, chunk_row, manifest_row},
};

/// Bytes of records that are moved at once.
const MOVE_BYTES: u64 = 16 << 20;

/// Records that are moved at once.
const MOVE_RECORDS: usize = 1024;

/// What compaction did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Compaction {
    /// Packs that were removed.
    pub packs_removed: u64,
    /// Bytes of these.
    pub bytes_removed: u64,
    /// Records that were moved, because something refers to them.
    pub records_moved: u64,
    /// Bytes of these.
    pub bytes_moved: u64,
    /// Packs that were left, because they or a record in them can't be read or are damaged, or a manifest in
    /// them is not committed yet.
    pub packs_left: u64,
}

/// A record that a row names at its present place.
struct Living {
    entry: IndexEntry,
    key: RowKey,
    row: Row,
}

/// What was found among some records of a pack.
#[derive(Default)]
struct Found {
    /// Bytes of the records that rows name.
    living: u64,
    /// Whether one of them could not be moved.
    stays: bool,
}

impl Inner {
    /// Compacts those of the packs `here` that `packs` shows to be worth it.
    pub(super) async fn compact(
        &self,
        packs: &PackUse,
        here: Vec<PackInfo>,
        options: GcOptions,
    ) -> Result<Compaction> {
        let candidates = packs.candidates(here, options.dead_percent);
        let mut done = Compaction::default();
        if options.dry_run {
            done.packs_removed = candidates.len() as u64;
            done.bytes_removed = candidates.iter().map(|pack| pack.bytes).sum();
            return Ok(done);
        }
        if candidates.is_empty() {
            return Ok(done);
        }
        // Records of these packs that no row names yet get theirs, or never will: appends that began
        // before now have ended, and commits that they sent stand before this one.
        self.in_flight.appends_ended().await;
        self.fence().await?;
        let held = self.in_flight.packs();
        let (left, going): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|pack| held.contains(&pack.pack));
        done.packs_left += left.len() as u64;
        let voids = Voids::of(&*self.chunks, &going).await?;
        for pack in going {
            self.compact_pack(pack, packs.live(pack.pack), &voids, &mut done).await?;
        }
        Ok(done)
    }

    /// A commit of no effect, behind all that were sent before it.
    async fn fence(&self) -> Result<()> {
        let mut commit = Commit::new();
        commit.put(RowKey::new(WRITERS, self.writer.0), Bytes::new());
        match self.catalog.commit(commit).await? {
            Outcome::Applied { .. } => Ok(()),
            Outcome::Conflict(_) | Outcome::Unknown => {
                Err(Error::new(ErrorKind::Unavailable, "the row of a writer"))
            }
        }
    }

    async fn compact_pack(
        &self,
        pack: PackInfo,
        live: u64,
        voids: &Voids,
        done: &mut Compaction,
    ) -> Result<()> {
        let contents = match self.chunks.summary(pack.pack).await {
            Ok(contents) => contents,
            Err(cause) => {
                tracing::error!(pack = %pack.pack, %cause, "a pack can't be read and stays");
                done.packs_left += 1;
                return Ok(());
            }
        };
        let (mut stays, mut living) = (!contents.is_whole(), 0);
        let entries: Vec<_> =
            contents.batches.iter().flat_map(|batch| batch.index.records.iter().copied()).collect();
        for some in runs(&entries) {
            let found = self.move_records(pack.pack, some, done).await?;
            stays |= found.stays;
            living += found.living;
        }
        // Behind the last index that is authentic lies a batch that was not finished, or one whose index has
        // decayed since: then rows name records of it. Where files were deleted meanwhile, the next cycle
        // counts anew.
        if matches!(contents.end, PackEnd::Torn(_)) && living < live {
            tracing::warn!(pack = %pack.pack, living, live, "rows named more than was found; the pack stays");
            stays = true;
        }
        if stays {
            done.packs_left += 1;
            return Ok(());
        }
        self.carry_over(&contents, voids).await?;
        let _unpinned = self.pins.write().await;
        self.chunks.remove(pack.pack).await?;
        let mut commit = Commit::new();
        commit.delete(RowKey::new(PACKS, pack.pack.0));
        // A row that stays for a pack that is gone does no harm.
        let _ = self.catalog.commit(commit).await;
        done.packs_removed += 1;
        done.bytes_removed += pack.bytes;
        Ok(())
    }

    /// Moves those of `entries` that live.
    async fn move_records(
        &self,
        pack: PackId,
        entries: &[IndexEntry],
        done: &mut Compaction,
    ) -> Result<Found> {
        let mut found = Found::default();
        let mut records = Vec::new();
        let mut sound = Vec::new();
        for one in self.living(pack, entries).await? {
            found.living += u64::from(one.entry.length);
            match self.record_of(pack, &one.entry).await {
                Ok(record) => {
                    records.push(record);
                    sound.push(one);
                }
                Err(cause) => {
                    let offset = one.entry.offset;
                    tracing::error!(%pack, offset, %cause, "a record can't be read and stays where it is");
                    found.stays = true;
                }
            }
        }
        if records.is_empty() {
            return Ok(found);
        }
        let bytes = records.iter().map(|record| record.bytes().len() as u64).sum::<u64>();
        let count = records.len() as u64;
        // Until it is known which copies of manifests stay.
        let _appending = self.in_flight.appending();
        let receipt = self.chunks.append(Batch { records, ..Batch::default() }).await?;
        self.in_flight.copied();
        self.point(sound, receipt.extents()).await?;
        done.records_moved += count;
        done.bytes_moved += bytes;
        Ok(found)
    }

    async fn record_of(&self, pack: PackId, entry: &IndexEntry) -> Result<SealedRecord> {
        let (offset, length) = (entry.offset, entry.length);
        let bytes = self.chunks.read(Extent { pack, offset, length }).await?;
        Ok(SealedRecord::stored(entry.name, bytes)?)
    }

    /// Those of `entries` that a row names at this place, and their rows.
    async fn living(&self, pack: PackId, entries: &[IndexEntry]) -> Result<Vec<Living>> {
        let keys: Vec<_> = entries.iter().map(|entry| key_of(entry.name)).collect();
        let rows = self.catalog.read(&keys).await?;
        let mut living = Vec::new();
        for ((entry, key), row) in entries.iter().zip(keys).zip(rows) {
            let Some(row) = row else { continue };
            if place_of(entry.name, &row)? == (pack, entry.offset) {
                living.push(Living { entry: *entry, key, row });
            }
        }
        Ok(living)
    }

    /// Lets the rows of `living` name `places`, where the records lie now, too; a row that changed
    /// meanwhile is left, as the record of this place is dead then.
    async fn point(&self, living: Vec<Living>, places: &[Extent]) -> Result<()> {
        let mut moves: Vec<_> = living.into_iter().zip(places).collect();
        let mut dead = Vec::new();
        while !moves.is_empty() {
            let mut commit = Commit::new();
            for (one, place) in &moves {
                let value = moved_row(one.entry.name, &one.row, place)?;
                commit.unchanged(one.key.clone(), one.row.version).put(one.key.clone(), value);
            }
            match self.catalog.commit(commit).await? {
                Outcome::Applied { version } => {
                    self.chunks.acknowledge(version);
                    break;
                }
                Outcome::Conflict(row) => {
                    let at = moves.iter().position(|(one, _)| one.key == row);
                    let (one, place) = moves.swap_remove(at.ok_or_else(unexpected)?);
                    if let Some(again) = self.look_again(one).await? {
                        moves.push((again, place));
                    } else {
                        dead.extend(manifest_of(&row));
                    }
                }
                Outcome::Unknown => {
                    return Err(Error::new(ErrorKind::Unavailable, "rows of moved records"));
                }
            }
        }
        // The copy of a manifest that ended meanwhile must not outlive its void.
        self.void(dead).await
    }

    /// The row as it is now, when it still names the old place.
    async fn look_again(&self, one: Living) -> Result<Option<Living>> {
        let found = self.catalog.read(std::slice::from_ref(&one.key)).await?;
        let Some(row) = found.into_iter().next().flatten() else { return Ok(None) };
        let unmoved = place_of(one.entry.name, &row)? == place_of(one.entry.name, &one.row)?;
        Ok(unmoved.then_some(Living { row, ..one }))
    }

    /// Appends what the indexes of a pack say beside its records and still counts, and the bridges over it.
    async fn carry_over(&self, contents: &PackContents, voids: &Voids) -> Result<()> {
        if contents.batches.is_empty() {
            return Ok(());
        }
        let indexes = || contents.batches.iter().map(|batch| &batch.index);
        let outliving = indexes().flat_map(|index| index.voids.iter().copied());
        let outliving = outliving.filter(|id| voids.outlives(*id, contents.header.pack));
        let still: HashSet<_> = self.still_void(outliving.collect()).await?.into_iter().collect();
        let over = Batch { bridges: bridges(contents).collect(), ..Batch::default() };
        let mut said = vec![over];
        for index in indexes() {
            let voids = index.voids.iter().copied().filter(|id| still.contains(id));
            let voids: Vec<_> = voids.collect();
            // A batch names items and the manifests that end with them together.
            let tombstones = if voids.is_empty() { Vec::new() } else { index.tombstones.clone() };
            let bridges = index.bridges.clone();
            said.push(Batch { tombstones, voids, bridges, ..Batch::default() });
        }
        for batch in joined(said) {
            let _durable = self.chunks.append(batch).await?;
        }
        Ok(())
    }

    /// Those of `voids` that are no manifests of the catalog: a void that was taken back stays behind.
    async fn still_void(&self, voids: Vec<ManifestId>) -> Result<Vec<ManifestId>> {
        let mut still = Vec::new();
        for some in voids.chunks(MOVE_RECORDS) {
            let keys: Vec<_> = some.iter().map(|id| manifest_row(*id)).collect();
            let rows = self.catalog.read(&keys).await?;
            still.extend(some.iter().zip(rows).filter(|(_, row)| row.is_none()).map(|(id, _)| *id));
        }
        Ok(still)
    }
}

/// From the last batch of a pack to what came before its first. A pack that was not closed may end with a
/// batch that failed and was given up; what follows it goes on from the batch before, so that has a bridge, too.
fn bridges(contents: &PackContents) -> impl Iterator<Item = Bridge> {
    let pack = contents.header.pack;
    let previous = contents.batches.first().map_or([0; 32], |first| first.index.previous);
    let ends = if contents.end == PackEnd::Closed { 1 } else { 2 };
    let lasts = contents.batches.iter().rev().take(ends).map(|last| last.hash);
    lasts.map(move |last| Bridge { pack, previous, last })
}

/// The same entries in as few batches as hold them; those that say nothing are left out.
fn joined(batches: Vec<Batch>) -> Vec<Batch> {
    let mut joined: Vec<Batch> = Vec::new();
    for batch in batches.into_iter().filter(|batch| batch.entry_count() > 0) {
        match joined.last_mut() {
            Some(last) if last.entry_count() + batch.entry_count() <= BATCH_ENTRIES_MAX => {
                last.tombstones.extend(batch.tombstones);
                last.voids.extend(batch.voids);
                last.bridges.extend(batch.bridges);
            }
            _ => joined.push(batch),
        }
    }
    joined
}

/// Stretches of a pack's records that are moved at once.
fn runs(entries: &[IndexEntry]) -> Vec<&[IndexEntry]> {
    let (mut runs, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, entry) in entries.iter().enumerate() {
        bytes += u64::from(entry.length);
        if at > start && (bytes > MOVE_BYTES || at - start == MOVE_RECORDS) {
            runs.push(&entries[start..at]);
            (start, bytes) = (at, u64::from(entry.length));
        }
    }
    if start < entries.len() {
        runs.push(&entries[start..]);
    }
    runs
}

fn key_of(name: RecordName) -> RowKey {
    match name {
        RecordName::Chunk(domain, id) => chunk_row(domain, id),
        RecordName::Manifest(id) => manifest_row(id),
    }
}

fn manifest_of(row: &RowKey) -> Option<ManifestId> {
    let id = row.key[..].try_into().ok().map(ManifestId);
    id.filter(|_| row.table == crate::vault::MANIFESTS)
}

fn place_of(name: RecordName, row: &Row) -> Result<(PackId, u64)> {
    Ok(match name {
        RecordName::Chunk(..) => {
            let row = ChunkRow::decode(&row.value)?;
            (row.pack, row.offset)
        }
        RecordName::Manifest(_) => {
            let row = ManifestRow::decode(&row.value)?;
            (row.pack, row.offset)
        }
    })
}

fn moved_row(name: RecordName, row: &Row, place: &Extent) -> Result<Vec<u8>> {
    let (pack, offset) = (place.pack, place.offset);
    Ok(match name {
        RecordName::Chunk(..) => {
            ChunkRow { pack, offset, ..ChunkRow::decode(&row.value)? }.encode()
        }
        RecordName::Manifest(_) => {
            ManifestRow { pack, offset, ..ManifestRow::decode(&row.value)? }.encode()
        }
    })
}

fn unexpected() -> Error {
    Error::new(ErrorKind::Internal, "a conflict over a row that was not checked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_carried_over_is_whole_and_within_the_limit_of_a_batch() {
        let saying = |voids: u32| {
            let id = |at: u32| ManifestId(u128::from(at).to_le_bytes());
            Batch { voids: (0..voids).map(id).collect(), ..Batch::default() }
        };
        let counts = [40_000, 0, 25_000, 1, 65_536, 600, 2];
        let joined = joined(counts.map(saying).to_vec());
        let entries: Vec<_> = joined.iter().map(Batch::entry_count).collect();
        assert_eq!(entries, [65_001, 65_536, 602]);
    }
}
