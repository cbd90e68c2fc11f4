//! Who else has chunks of an item: looked for before it is erased.

use std::{
    collections::{BTreeSet, HashSet},
    ops::Range,
};

use futures::{StreamExt, stream};

use super::{FileRef, Inner, MANIFESTS};
use crate::{
    Error, ErrorKind, Result,
    catalog::{Fold, Row, ScanRange},
    chunk::ChunkId,
    ids::{DomainId, ItemId, ManifestId, StoreId},
    manifest::IdBlock,
};

/// Most chunks of an item that are looked for: 4 TiB in chunks of 1 MiB, 128 MiB of memory.
pub const CHUNKS_SOUGHT_MAX: usize = 4 << 20;

/// Most items that are named; others are counted.
pub const SHARERS_MAX: usize = 256;

/// Most items that are told apart when they are counted.
const SHARERS_COUNTED_MAX: usize = 64 << 10;

/// Rows of manifests of one scan.
const PAGE: usize = 256;

/// Manifests that are looked at at once.
const AT_ONCE: usize = 8;

/// Entries of a manifest that are looked at at once.
const ENTRIES_AT_ONCE: u32 = 8 << 10;

/// One item that shares chunks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Sharer {
    /// Its store.
    pub store: StoreId,
    /// The item.
    pub item: ItemId,
    /// What it is: an [`ItemKind`](super::ItemKind) as a byte.
    pub kind: u8,
}

/// Who shares chunks with an item.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sharing {
    /// Items that do, at most [`SHARERS_MAX`].
    pub sharers: Vec<Sharer>,
    /// How many more do.
    pub more: u64,
    /// Manifests that could not be looked at, as their key or bytes are not available.
    pub unread: u64,
    /// Chunks that were not looked for, above [`CHUNKS_SOUGHT_MAX`].
    pub left_out: u64,
}

/// What is looked for.
struct Sought {
    slot: u64,
    domains: HashSet<DomainId>,
    chunks: HashSet<ChunkId>,
    left_out: u64,
}

/// Looks through the manifests of the vault, page by page, for chunks of `files`, which are those of one
/// item with a shred slot of its own. `told` hears how many manifests were looked at.
pub(super) async fn sharing(
    inner: &Inner,
    files: &[FileRef],
    told: &(dyn Fn(u64) + Send + Sync),
) -> Result<Sharing> {
    let sought = seek(inner, files).await?;
    if sought.chunks.is_empty() {
        // It lives inside its manifests.
        return Ok(Sharing::default());
    }
    let (mut found, mut sharing) = (BTreeSet::new(), Sharing::default());
    let (mut range, mut looked_at) = (ScanRange::prefix(MANIFESTS, []), 0);
    loop {
        let page = inner.catalog.scan(&range, &Fold::default(), PAGE).await?;
        let next = page.next.clone();
        let mut looks = stream::iter(page.rows())
            .map(|row| look(inner, row, &sought))
            .buffer_unordered(AT_ONCE);
        while let Some(seen) = looks.next().await {
            looked_at += 1;
            match seen? {
                Seen::Shares(sharer) if found.len() < SHARERS_COUNTED_MAX => {
                    found.insert(sharer);
                }
                Seen::Shares(_) | Seen::Apart => {}
                Seen::Closed => sharing.unread += 1,
            }
        }
        drop(looks);
        told(looked_at);
        match next {
            Some(key) => range = range.from(key),
            None => break,
        }
    }
    sharing.more = found.len().saturating_sub(SHARERS_MAX) as u64;
    sharing.sharers = found.into_iter().take(SHARERS_MAX).collect();
    sharing.left_out = sought.left_out;
    Ok(sharing)
}

async fn seek(inner: &Inner, files: &[FileRef]) -> Result<Sought> {
    let mut sought =
        Sought { slot: 0, domains: HashSet::new(), chunks: HashSet::new(), left_out: 0 };
    for file in files {
        let open = inner.open_anew(file.manifest).await?;
        sought.slot = open.manifest.head().id().slot;
        sought.domains.extend(open.manifest.entry_runs().iter().map(|run| run.domain));
        for range in pages(open.manifest.entry_count()) {
            let entries = open.entries(inner, range).await?;
            for entry in entries {
                if sought.chunks.len() < CHUNKS_SOUGHT_MAX {
                    sought.chunks.insert(entry.id);
                } else {
                    sought.left_out += 1;
                }
            }
        }
    }
    Ok(sought)
}

/// What became of one look at a manifest.
enum Seen {
    /// Its item has a chunk that is sought.
    Shares(Sharer),
    /// It has none, or was deleted meanwhile.
    Apart,
    /// It could not be opened.
    Closed,
}

async fn look(inner: &Inner, row: Row, sought: &Sought) -> Result<Seen> {
    let id = row.key.as_slice().try_into();
    let id = ManifestId(id.map_err(|_| Error::corrupt("key of a manifest"))?);
    match shares(inner, id, sought).await {
        Ok(Some(sharer)) => Ok(Seen::Shares(sharer)),
        Ok(None) => Ok(Seen::Apart),
        Err(cause) => match cause.kind() {
            ErrorKind::NotFound => Ok(Seen::Apart),
            ErrorKind::KeyUnavailable | ErrorKind::Corrupt => Ok(Seen::Closed),
            _ => Err(cause),
        },
    }
}

/// The item of manifest `id`, when it has a chunk that is sought and does not fall with the same slot.
async fn shares(inner: &Inner, id: ManifestId, sought: &Sought) -> Result<Option<Sharer>> {
    let open = inner.open_anew(id).await?;
    let IdBlock { store, item, kind, slot, .. } = *open.manifest.head().id();
    let runs = open.manifest.entry_runs();
    if slot == sought.slot || !runs.iter().any(|run| sought.domains.contains(&run.domain)) {
        return Ok(None);
    }
    for range in pages(open.manifest.entry_count()) {
        let entries = open.entries(inner, range).await?;
        if entries.iter().any(|entry| sought.chunks.contains(&entry.id)) {
            return Ok(Some(Sharer { store, item, kind }));
        }
    }
    Ok(None)
}

fn pages(count: u32) -> impl Iterator<Item = Range<u32>> {
    let starts = (0..count).step_by(ENTRIES_AT_ONCE as usize);
    starts.map(move |start| start..count.min(start.saturating_add(ENTRIES_AT_ONCE)))
}
