//! Files made of chunks that are already stored: Complete, Copy and import within one domain.

use std::sync::Arc;

use futures::stream;

use super::{
    FileRef, FileSpec, Inner, StageError, Staged,
    in_flight::Hold,
    reader::FileReader,
    stage::{self, Finished, finish},
};
use crate::{Error, ErrorKind, Result, manifest::ManifestWriter};

/// Entries that are carried over at once.
const ENTRIES_AT_ONCE: u32 = 8 << 10;

/// One manifest over the entries of all parts.
pub(super) async fn assemble(
    inner: &Arc<Inner>,
    spec: FileSpec,
    parts: &[FileRef],
) -> Result<Staged> {
    let store = inner.keys.open_store(&spec.item.store).await?;
    let hold = Arc::new(inner.in_flight.hold());
    let mut writer = ManifestWriter::chunks(store.chunk_size());
    for part in parts {
        let part = FileReader::new(inner.clone(), inner.open_file(part).await?);
        if part.manifest().is_inline() || part.manifest().chunk_size() != Some(store.chunk_size()) {
            return Err(Error::new(ErrorKind::InvalidInput, "a part of another domain"));
        }
        carry_over(&mut writer, &part, (inner, &hold), &spec).await?;
    }
    finish(inner, &spec, Finished { writer, id: None }, hold).await
}

/// The same bytes as `source` under another item, when no byte must move for that.
pub(super) async fn adopt(
    inner: &Arc<Inner>,
    spec: FileSpec,
    source: &FileRef,
) -> Result<Option<Staged>> {
    let source = FileReader::new(inner.clone(), inner.open_file(source).await?);
    if source.manifest().is_inline() {
        let bytes = source.read(0..source.length()).await?;
        let staged = stage::stage(inner, spec, stream::iter([Ok(bytes)])).await;
        return match staged {
            Ok(staged) => Ok(Some(staged)),
            Err(StageError::Store(cause)) => Err(cause),
            Err(StageError::Body(cause)) => {
                Err(Error::new(ErrorKind::Internal, "bytes at hand").because(cause))
            }
        };
    }
    let domain = spec.item.store.domain;
    if source.manifest().entry_runs().iter().any(|run| run.domain != domain) {
        return Ok(None);
    }
    let size = source.manifest().chunk_size().ok_or_else(|| Error::corrupt("chunk size"))?;
    let hold = Arc::new(inner.in_flight.hold());
    let mut writer = ManifestWriter::chunks(size);
    copy_parts(&mut writer, &source, (inner, &hold)).await?;
    finish(inner, &spec, Finished { writer, id: None }, hold).await.map(Some)
}

async fn carry_over(
    writer: &mut ManifestWriter,
    part: &FileReader,
    keeper: (&Inner, &Hold),
    spec: &FileSpec,
) -> Result<()> {
    let domain = spec.item.store.domain;
    if part.manifest().entry_runs().iter().any(|run| run.domain != domain) {
        return Err(Error::new(ErrorKind::InvalidInput, "a part of another domain"));
    }
    copy_parts(writer, part, keeper).await
}

/// All entries of `source`, in parts as there: only the last chunk of a part may be short.
async fn copy_parts(
    writer: &mut ManifestWriter,
    source: &FileReader,
    keeper: (&Inner, &Hold),
) -> Result<()> {
    let size = source.manifest().chunk_size().ok_or_else(|| Error::corrupt("chunk size"))?;
    let mut next = 0;
    for run in source.manifest().part_runs().to_vec() {
        let chunks = run.length.div_ceil(u64::from(size.bytes()));
        let chunks = u32::try_from(chunks).map_err(|_| Error::corrupt("part of a file"))?;
        for _ in 0..run.count {
            copy_entries(writer, source, keeper, next..next + chunks).await?;
            writer.end_part()?;
            next += chunks;
        }
    }
    Ok(())
}

async fn copy_entries(
    writer: &mut ManifestWriter,
    source: &FileReader,
    (inner, hold): (&Inner, &Hold),
    range: std::ops::Range<u32>,
) -> Result<()> {
    let mut start = range.start;
    while start < range.end {
        let end = range.end.min(start + ENTRIES_AT_ONCE);
        let entries = source.entries(start..end).await?;
        inner.keep(&entries, hold).await?;
        for entry in &entries {
            writer.push(entry)?;
        }
        start = end;
    }
    Ok(())
}
