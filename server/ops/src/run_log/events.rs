//! Events of streams: forwards, backwards, and by what they contain.

use readvault_store::catalog::{Fold, ScanRange};

use super::{Lines, lines_row, load};
use crate::{
    Fault,
    authorize::Permit,
    core::{Core, decode, key_of},
    fault::Result,
    tables,
};

/// Most bytes of one page of events, each counted as its text and 26 bytes.
pub const PAGE_BYTES_MAX: usize = 1 << 20;

/// Bytes that an event counts beside its text.
const EVENT_BYTES: usize = 26;

/// Rows read at once.
const BATCH: u64 = 16;

/// One line of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEvent {
    /// When it came, in milliseconds since 1970.
    pub at_ms: u64,
    /// The line.
    pub message: String,
    /// Where it stands.
    pub position: Position,
}

/// A place between two events of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Sequence of a row.
    pub row: u64,
    /// Line in it.
    pub line: u64,
}

/// Which way events are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Upwards from a place.
    From(Position),
    /// The last ones before a place.
    Before(Position),
    /// The last ones.
    Tail,
}

/// Which events are read.
#[derive(Clone, Debug)]
pub struct EventsQuery {
    /// From where.
    pub direction: Direction,
    /// Not before this time.
    pub from_ms: u64,
    /// Before this time.
    pub until_ms: u64,
    /// At most so many.
    pub limit: usize,
    /// Texts that a line must all contain.
    pub terms: Vec<String>,
}

/// A page of events, oldest first, and the places at its two ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsPage {
    /// The events.
    pub events: Vec<LogEvent>,
    /// Before the first.
    pub start: Position,
    /// After the last that was looked at.
    pub end: Position,
    /// Whether everything in that direction was looked at.
    pub complete: bool,
}

impl EventsQuery {
    fn wants(&self, at_ms: u64, line: &str) -> bool {
        (self.from_ms..self.until_ms).contains(&at_ms)
            && self.terms.iter().all(|term| line.contains(term.as_str()))
    }
}

/// A page of at most [`PAGE_BYTES_MAX`] of the events of `stream`.
///
/// # Errors
/// `NotFound` when there is no such stream; those of the catalog.
pub async fn events(
    core: &Core,
    _permit: &Permit,
    stream: &str,
    query: &EventsQuery,
) -> Result<EventsPage> {
    let Some(found) = load(core, stream).await? else {
        return Err(Fault::not_found("The specified log stream does not exist."));
    };
    let tail = Position { row: found.next, line: 0 };
    match query.direction {
        Direction::From(start) => forwards(core, stream, start, query).await,
        Direction::Before(end) => backwards(core, stream, end.min(tail), query).await,
        Direction::Tail => backwards(core, stream, tail, query).await,
    }
}

async fn forwards(
    core: &Core,
    stream: &str,
    start: Position,
    query: &EventsQuery,
) -> Result<EventsPage> {
    let mut page = EventsPage { events: Vec::new(), start, end: start, complete: false };
    let mut bytes = 0;
    let first = lines_row(stream, start.row).key;
    let mut range = ScanRange::prefix(tables::LOGS, key_of(&[stream])).from(first);
    loop {
        let found = core.catalog().scan(&range, &Fold::default(), 16).await?;
        let next = found.next.clone();
        for row in found.rows() {
            let sequence = sequence_of(&row.key);
            let lines: Lines = decode(&row.value)?;
            for (number, line) in (0_u64..).zip(lines.text.split('\n')) {
                let position = Position { row: sequence, line: number };
                if position < start {
                    continue;
                }
                if query.wants(lines.at_ms, line) {
                    bytes += line.len() + EVENT_BYTES;
                    let full = bytes > PAGE_BYTES_MAX && !page.events.is_empty();
                    if full || page.events.len() == query.limit {
                        return Ok(page);
                    }
                    let message = line.to_owned();
                    page.events.push(LogEvent { at_ms: lines.at_ms, message, position });
                }
                page.end = Position { row: sequence, line: number + 1 };
            }
        }
        match next {
            Some(key) => range = range.from(key),
            None => {
                page.complete = true;
                return Ok(page);
            }
        }
    }
}

async fn backwards(
    core: &Core,
    stream: &str,
    end: Position,
    query: &EventsQuery,
) -> Result<EventsPage> {
    let mut page = EventsPage { events: Vec::new(), start: end, end, complete: false };
    let mut bytes = 0;
    let mut above = if end.line > 0 { end.row + 1 } else { end.row };
    'rows: while above > 0 {
        let below = above.saturating_sub(BATCH);
        let keys: Vec<_> = (below..above).map(|row| lines_row(stream, row)).collect();
        let rows = core.catalog().read(&keys).await?;
        let numbered: Vec<_> = (below..above).zip(rows).collect();
        for (sequence, row) in numbered.into_iter().rev() {
            let Some(row) = row else { continue };
            let lines: Lines = decode(&row.value)?;
            let numbered: Vec<_> = (0_u64..).zip(lines.text.split('\n')).collect();
            for (number, line) in numbered.into_iter().rev() {
                let position = Position { row: sequence, line: number };
                if position >= end {
                    continue;
                }
                if query.wants(lines.at_ms, line) {
                    bytes += line.len() + EVENT_BYTES;
                    let full = bytes > PAGE_BYTES_MAX && !page.events.is_empty();
                    if full || page.events.len() == query.limit {
                        break 'rows;
                    }
                    let message = line.to_owned();
                    page.events.push(LogEvent { at_ms: lines.at_ms, message, position });
                }
                page.start = position;
            }
        }
        above = below;
        page.complete = above == 0;
    }
    page.events.reverse();
    Ok(page)
}

fn sequence_of(key: &[u8]) -> u64 {
    let tail = key.last_chunk::<8>().copied().unwrap_or_default();
    u64::from_be_bytes(tail)
}
