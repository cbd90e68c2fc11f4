//! Writes the rows of chunks and manifests as the packs say, event by event.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use super::{
    super::{chunk_row, gc, manifest_row},
    Progress, RebuildParams, Survey, Told, dangling,
};
use crate::{
    Error, ErrorKind, Result,
    catalog::{COMMIT_ROWS_MAX, Catalog, Commit, Durability, Outcome, RowKey},
    chunk::{CHUNK_HEADER_BYTES, ChunkHeader, ChunkRow},
    chunk_store::{ChunkStore, Extent, LocalChunkStore},
    ids::{DomainId, ManifestId, PackId},
    manifest::{HEAD_BYTES_MAX, ManifestRow, manifest_head_bytes},
    pack::{Chains, IndexEntry, PlacedBatch, RecordName},
};

/// Events whose records are read and whose rows are written together.
const EVENTS_AT_ONCE: usize = 1024;

/// Such groups whose records are read at once.
const GROUPS_AHEAD: usize = 8;

/// What a replay did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Replayed {
    /// What it met.
    pub met: Progress,
    /// Records that an index names and that can't be read.
    pub unreadable: u64,
    /// Rows that were taken out because their pack is gone.
    pub dangling: u64,
}

/// What a batch says, one by one.
#[derive(Clone, Copy, Debug)]
enum Event {
    Record(PackId, IndexEntry),
    Void(ManifestId),
}

/// What an event makes of a row: its new value, or none when it goes.
type Change = (RowKey, Option<Vec<u8>>);

/// Replays all events of `survey` in order, then takes out the rows whose pack is gone. A row that is so
/// already is not written again. Durable when it returns.
///
/// # Errors
/// Those of the packs and of the catalog. A record that can't be read is counted and left out.
pub async fn replay(params: &RebuildParams, survey: &Survey, told: Told<'_>) -> Result<Replayed> {
    let epoch = gc::epoch(&*params.catalog).await?;
    let mut replayed = Replayed::default();
    replayed.met.packs_all = survey.packs.len() as u64;
    let mut chains = Chains::over(&survey.bridges);
    for pack in &survey.packs {
        let mut events = Vec::new();
        for batch in params.chunks.summary(*pack).await?.batches {
            let followed = chains.push(PlacedBatch { pack: *pack, batch });
            followed.stands.iter().for_each(|placed| add(&mut events, placed));
        }
        apply(params, (&events, epoch), &mut replayed).await?;
        replayed.met.packs += 1;
        told(replayed.met);
    }
    let mut events = Vec::new();
    chains.finish().iter().for_each(|placed| add(&mut events, placed));
    apply(params, (&events, epoch), &mut replayed).await?;
    replayed.dangling = dangling::remove(params).await?;
    told(replayed.met);
    Ok(replayed)
}

/// Voids of a batch count behind its records.
fn add(events: &mut Vec<Event>, placed: &PlacedBatch) {
    let index = &placed.batch.index;
    events.extend(index.records.iter().map(|entry| Event::Record(placed.pack, *entry)));
    events.extend(index.voids.iter().map(|id| Event::Void(*id)));
}

async fn apply(
    params: &RebuildParams,
    (events, epoch): (&[Event], u32),
    replayed: &mut Replayed,
) -> Result<()> {
    let groups = events.chunks(EVENTS_AT_ONCE).map(<[Event]>::to_vec);
    let groups = stream::iter(groups).map(|group| read(params.chunks.clone(), group, epoch));
    let mut groups = groups.buffered(GROUPS_AHEAD);
    while let Some((changes, met)) = groups.try_next().await? {
        replayed.met.chunks += met.chunks;
        replayed.met.manifests += met.manifests;
        replayed.unreadable += met.unreadable;
        write(&*params.catalog, changes).await?;
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, Default)]
struct Met {
    chunks: u64,
    manifests: u64,
    unreadable: u64,
}

async fn read(
    chunks: Arc<LocalChunkStore>,
    events: Vec<Event>,
    epoch: u32,
) -> Result<(Vec<Change>, Met)> {
    let reading = tokio::task::spawn_blocking(move || {
        let mut met = Met::default();
        let mut changes = Vec::with_capacity(events.len());
        for event in events {
            let Event::Record(pack, entry) = event else {
                let Event::Void(id) = event else { continue };
                changes.push((manifest_row(id), None));
                continue;
            };
            let change = match entry.name {
                RecordName::Chunk(domain, id) => {
                    met.chunks += 1;
                    let front = front(&chunks, (pack, &entry), CHUNK_HEADER_BYTES)?;
                    front.and_then(|front| chunk(&front, (domain, id), (pack, &entry), epoch))
                }
                RecordName::Manifest(id) => {
                    met.manifests += 1;
                    let front = front(&chunks, (pack, &entry), HEAD_BYTES_MAX)?;
                    front.and_then(|front| manifest(&front, id, (pack, &entry)))
                }
            };
            match change {
                Some(change) => changes.push(change),
                None => met.unreadable += 1,
            }
        }
        Ok((changes, met))
    });
    reading.await.map_err(|cause| Error::new(ErrorKind::Internal, "reader").because(cause))?
}

/// The first bytes of a record; none when they can't be read.
fn front(
    chunks: &LocalChunkStore,
    (pack, entry): (PackId, &IndexEntry),
    bytes: usize,
) -> Result<Option<bytes::Bytes>> {
    let length = entry.length.min(u32::try_from(bytes).expect("heads are short"));
    match chunks.read_here(Extent { pack, offset: entry.offset, length }) {
        Ok(front) => Ok(Some(front)),
        Err(cause) if matches!(cause.kind(), ErrorKind::Corrupt | ErrorKind::Unavailable) => {
            tracing::error!(%pack, offset = entry.offset, %cause, "a record can't be read");
            Ok(None)
        }
        Err(cause) => Err(cause),
    }
}

fn chunk(
    front: &[u8],
    (domain, id): (DomainId, crate::chunk::ChunkId),
    (pack, entry): (PackId, &IndexEntry),
    epoch: u32,
) -> Option<Change> {
    let header = ChunkHeader::decode(front).ok()?;
    let sound = header.id == id && header.record_bytes() == u64::from(entry.length);
    let row = ChunkRow::new(&header, pack, entry.offset, epoch);
    sound.then(|| (chunk_row(domain, id), Some(row.encode())))
}

fn manifest(front: &[u8], id: ManifestId, (pack, entry): (PackId, &IndexEntry)) -> Option<Change> {
    let (found, head_bytes) = manifest_head_bytes(front).ok()?;
    let row = ManifestRow { pack, offset: entry.offset, length: entry.length, head_bytes };
    (found == id).then(|| (manifest_row(id), Some(row.encode())))
}

/// Writes what is not so already. Nobody relies on these rows before the last, synced commit.
async fn write(catalog: &dyn Catalog, changes: Vec<Change>) -> Result<()> {
    let rows: Vec<RowKey> = changes.iter().map(|(row, _)| row.clone()).collect();
    let now = catalog.read(&rows).await?;
    let mut commit = Commit { durability: Durability::Ordered, ..Commit::new() };
    let mut touched = std::collections::HashSet::new();
    for ((row, value), now) in changes.into_iter().zip(now) {
        let same = match (&value, &now) {
            (Some(value), Some(now)) => place(value) == place(&now.value),
            (None, None) => true,
            _ => false,
        };
        // Of a row that changes twice in one group, the later change must stand.
        if same && !touched.contains(&row) {
            continue;
        }
        touched.insert(row.clone());
        match value {
            Some(value) => commit.put(row, value),
            None => commit.delete(row),
        };
    }
    commit_all(catalog, commit).await
}

/// What a row says of where its record lies: pack and offset stand first in both kinds of rows.
fn place(value: &[u8]) -> &[u8] {
    value.get(..24).unwrap_or(value)
}

/// Applies a commit that nothing can be in the way of.
pub(super) async fn commit_all(catalog: &dyn Catalog, commit: Commit) -> Result<()> {
    if commit.writes.is_empty() {
        return Ok(());
    }
    match catalog.commit(commit).await? {
        Outcome::Applied { .. } => Ok(()),
        Outcome::Conflict(_) | Outcome::Unknown => {
            Err(Error::new(ErrorKind::Unavailable, "a commit of a rebuild"))
        }
    }
}

const _: () = assert!(EVENTS_AT_ONCE <= COMMIT_ROWS_MAX);
