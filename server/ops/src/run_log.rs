//! Logs of runs: streams of lines, sealed in rows of at most 64 KiB, read as CloudWatch Logs events.
//!
//! A stream's rows bear a dense sequence; an event is a line of a row. Timestamps are those of arrival.

pub mod events;

use bytes::Bytes;
use futures::stream;
use readvault_store::catalog::{Commit, Durability, Fold, RowKey, ScanRange};
use serde::{Deserialize, Serialize};

use crate::{
    authorize::Permit,
    core::{Core, decode, encode, key_of, row_of},
    fault::Result,
    run::objects::OutputBody,
    tables,
};

/// The log group of every run.
pub const GROUP: &str = "/aws/omics/WorkflowLog";

/// Most bytes of text in one row.
pub const ROW_BYTES_MAX: usize = 64 << 10;

/// Most rows of one commit.
const COMMIT_ROWS: usize = 12;

/// A stream, as its row holds it. Key: its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStream {
    /// Its name.
    pub name: String,
    /// Milliseconds since 1970 at which it was made.
    pub created_ms: u64,
    /// When its last line came.
    pub last_ms: u64,
    /// Sequence of its next row.
    pub next: u64,
    /// Bytes of text in it.
    pub bytes: u64,
}

/// Lines of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lines {
    /// When they came.
    pub(crate) at_ms: u64,
    /// They, with line feeds between.
    pub(crate) text: String,
}

/// Name of the stream of run `id`'s own events.
#[must_use]
pub fn run_stream(id: &str) -> String {
    format!("run/{id}")
}

/// Name of the stream of the engine of run `id`.
#[must_use]
pub fn engine_stream(id: &str) -> String {
    format!("run/{id}/engine")
}

/// Name of the stream of task `task` of run `id`.
#[must_use]
pub fn task_stream(id: &str, task: &str) -> String {
    format!("run/{id}/task/{task}")
}

/// Name of the stream that describes run `id` once it ended.
#[must_use]
pub fn manifest_stream(id: &str, uuid: uuid::Uuid) -> String {
    format!("manifest/run/{id}/{uuid}")
}

fn stream_row(name: &str) -> RowKey {
    row_of(tables::LOG_STREAMS, &[name])
}

pub(crate) fn lines_row(stream: &str, sequence: u64) -> RowKey {
    let mut key = key_of(&[stream]);
    key.extend_from_slice(&sequence.to_be_bytes());
    RowKey::new(tables::LOGS, key)
}

/// The stream `name`, if anything was written to it.
pub(crate) async fn load(core: &Core, name: &str) -> Result<Option<LogStream>> {
    Ok(core.load(&stream_row(name)).await?.map(|stored| stored.value))
}

/// Appends lines to a stream, which one caller at a time may do. Durable with the next synced commit.
pub(crate) async fn append(core: &Core, name: &str, text: &str) -> Result<()> {
    let now = core.now_ms();
    let stream = load(core, name).await?;
    let mut stream = stream.unwrap_or_else(|| empty(name, now));
    for pieces in pieces(text).chunks(COMMIT_ROWS) {
        let mut commit = Commit { durability: Durability::Ordered, ..Commit::new() };
        for piece in pieces {
            put_lines(&mut commit, &mut stream, piece, now);
        }
        commit.put(stream_row(name), encode(&stream));
        let _ = core.commit(commit).await?;
    }
    Ok(())
}

/// Writes a whole stream, one row an item, and gives back the row that makes it visible.
pub(crate) async fn write_hidden(
    core: &Core,
    name: &str,
    items: &[String],
) -> Result<(RowKey, Bytes)> {
    let now = core.now_ms();
    let mut stream = empty(name, now);
    for item in items {
        let mut commit = Commit { durability: Durability::Ordered, ..Commit::new() };
        put_lines(&mut commit, &mut stream, item, now);
        let _ = core.commit(commit).await?;
    }
    Ok((stream_row(name), encode(&stream)))
}

fn empty(name: &str, now: u64) -> LogStream {
    LogStream { name: name.to_owned(), created_ms: now, last_ms: now, next: 0, bytes: 0 }
}

fn put_lines(commit: &mut Commit, stream: &mut LogStream, text: &str, now: u64) {
    let lines = Lines { at_ms: now, text: text.to_owned() };
    commit.put(lines_row(&stream.name, stream.next), encode(&lines));
    stream.next += 1;
    stream.bytes += text.len() as u64;
    stream.last_ms = stream.last_ms.max(now);
}

/// Cuts text into rows: at ends of lines, or inside a line that is longer than a row.
fn pieces(text: &str) -> Vec<&str> {
    let mut rest = text.strip_suffix('\n').unwrap_or(text);
    let mut pieces = Vec::new();
    loop {
        if rest.len() <= ROW_BYTES_MAX {
            pieces.push(rest);
            return pieces;
        }
        let limit = rest.floor_char_boundary(ROW_BYTES_MAX);
        let (piece, next) = match rest[..limit].rfind('\n') {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => rest.split_at(limit),
        };
        pieces.push(piece);
        rest = next;
    }
}

/// The whole text of a stream, in order.
pub(crate) fn text(core: &Core, name: &str) -> OutputBody {
    let first = ScanRange::prefix(tables::LOGS, key_of(&[name]));
    let core = core.clone();
    Box::pin(stream::try_unfold(Some(first), move |range| {
        let core = core.clone();
        async move {
            let Some(range) = range else { return Ok(None) };
            let page = core.catalog().scan(&range, &Fold::default(), 16).await?;
            let next = page.next.clone().map(|key| range.from(key));
            let mut text = String::new();
            for row in page.rows() {
                let lines: Lines = decode(&row.value)?;
                text.push_str(&lines.text);
                text.push('\n');
            }
            Ok(Some((Bytes::from(text), next)))
        }
    }))
}

/// The streams of run `id`, but for its manifest.
async fn streams_of_run(core: &Core, id: &str) -> Result<Vec<LogStream>> {
    let mut streams: Vec<LogStream> = load(core, &run_stream(id)).await?.into_iter().collect();
    let mut range = ScanRange::prefix(tables::LOG_STREAMS, format!("run/{id}/"));
    loop {
        let page = core.catalog().scan(&range, &Fold::default(), 256).await?;
        let next = page.next.clone();
        for row in page.rows() {
            streams.push(decode(&row.value)?);
        }
        match next {
            Some(key) => range = range.from(key),
            None => return Ok(streams),
        }
    }
}

/// Bytes of all logs of run `id`.
pub(crate) async fn bytes_of_run(core: &Core, id: &str) -> Result<u64> {
    Ok(streams_of_run(core, id).await?.iter().map(|stream| stream.bytes).sum())
}

/// Deletes every stream of run `id`.
pub(crate) async fn delete_run(core: &Core, id: &str, uuid: uuid::Uuid) -> Result<()> {
    let mut streams = streams_of_run(core, id).await?;
    streams.extend(load(core, &manifest_stream(id, uuid)).await?);
    for stream in streams {
        let mut sequence = 0;
        while sequence < stream.next {
            let end = stream.next.min(sequence + 1000);
            let mut commit = Commit::new();
            for sequence in sequence..end {
                commit.delete(lines_row(&stream.name, sequence));
            }
            let _ = core.commit(commit).await?;
            sequence = end;
        }
        let mut commit = Commit::new();
        commit.delete(stream_row(&stream.name));
        let _ = core.commit(commit).await?;
    }
    Ok(())
}

/// A page of streams whose names begin with `prefix`, by name, begun after the stream `after`.
///
/// # Errors
/// Those of the catalog.
pub async fn streams(
    core: &Core,
    _permit: &Permit,
    prefix: &str,
    (after, limit): (Option<&str>, usize),
) -> Result<(Vec<LogStream>, Option<String>)> {
    let mut range = ScanRange::prefix(tables::LOG_STREAMS, prefix);
    if let Some(after) = after {
        range = range.after(key_of(&[after]));
    }
    let page = core.catalog().scan(&range, &Fold::default(), limit).await?;
    let more = page.next.is_some();
    let streams: Vec<LogStream> =
        page.rows().map(|row| decode(&row.value)).collect::<Result<_>>()?;
    let next = streams.last().filter(|_| more).map(|stream| stream.name.clone());
    Ok((streams, next))
}

/// The `limit` streams whose names begin with `prefix` that were written to last, newest first.
///
/// # Errors
/// Those of the catalog.
pub async fn newest_streams(
    core: &Core,
    permit: &Permit,
    prefix: &str,
    limit: usize,
) -> Result<Vec<LogStream>> {
    let mut newest: Vec<LogStream> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let (found, next) = streams(core, permit, prefix, (after.as_deref(), 1000)).await?;
        newest.extend(found);
        newest.sort_by_key(|stream| std::cmp::Reverse(stream.last_ms));
        newest.truncate(limit);
        match next {
            Some(_) => after = next,
            None => return Ok(newest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_at_lines_and_only_else_inside_one() {
        assert_eq!(pieces("a\nb\n"), ["a\nb"]);
        assert_eq!(pieces(""), [""]);
        let line = "x".repeat(40_000);
        let two = format!("{line}\n{line}\n");
        assert_eq!(pieces(&two), [line.as_str(), line.as_str()]);
        let long = "é".repeat(70_000);
        let cut = pieces(&long);
        assert!(cut.iter().all(|piece| piece.len() <= ROW_BYTES_MAX));
        assert_eq!(cut.concat(), long);
    }
}
