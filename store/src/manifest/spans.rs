//! From a range of a file to ranges of its chunks: pure arithmetic over part runs.

use std::ops::Range;

use super::PartRun;
use crate::{chunk::ChunkSize, seal::RecordError};

/// The part of one chunk that a range needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChunkSpan {
    /// The chunk's entry in the manifest.
    pub entry: u32,
    /// Plain bytes of the chunk.
    pub length: u32,
    /// The plain bytes of the chunk that are wanted; never empty.
    pub range: Range<u32>,
}

/// One part run, and what lies before it.
#[derive(Clone, Copy, Debug)]
struct Placed {
    run: PartRun,
    offset: u64,
    entry: u32,
}

/// Where every part lies: cut at multiples of C from the start of each part.
#[derive(Clone, Debug)]
pub(super) struct PartMap {
    size: u32,
    runs: Vec<Placed>,
    length: u64,
    entries: u32,
}

impl PartMap {
    /// # Errors
    /// `Form` when neighbouring runs could be one, or lengths or counts do not fit.
    pub(super) fn new(size: ChunkSize, runs: &[PartRun]) -> Result<Self, RecordError> {
        let size = size.bytes();
        let mut map = Self { size, runs: Vec::with_capacity(runs.len()), length: 0, entries: 0 };
        for run in runs {
            if map.runs.last().is_some_and(|last| last.run.length == run.length) {
                return Err(RecordError::Form("part runs"));
            }
            map.runs.push(Placed { run: *run, offset: map.length, entry: map.entries });
            map.extend(run).ok_or(RecordError::Form("length of a file"))?;
        }
        Ok(map)
    }

    fn extend(&mut self, run: &PartRun) -> Option<()> {
        let chunks = u32::try_from(run.length.div_ceil(u64::from(self.size))).ok()?;
        self.entries = self.entries.checked_add(chunks.checked_mul(run.count)?)?;
        self.length = self.length.checked_add(run.length.checked_mul(u64::from(run.count))?)?;
        Some(())
    }

    /// Bytes of all parts.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Chunks of all parts.
    pub(super) fn entries(&self) -> u32 {
        self.entries
    }

    /// The first span of `range`.
    pub(super) fn span_at(&self, range: &Range<u64>) -> Option<ChunkSpan> {
        if range.start >= range.end.min(self.length) {
            return None;
        }
        let size = u64::from(self.size);
        let index = self.runs.partition_point(|placed| placed.offset <= range.start);
        // Runs of empty parts share their offset with the next run, which is the later one.
        let placed = self.runs.get(index.checked_sub(1)?)?;
        let within = range.start - placed.offset;
        let (part, in_part) = (within / placed.run.length, within % placed.run.length);
        let (chunk, start) = (in_part / size, in_part % size);
        let length = size.min(placed.run.length - chunk * size);
        let entry = u64::from(placed.entry) + part * placed.run.length.div_ceil(size) + chunk;
        let end = length.min(start + (range.end - range.start));
        let narrow = |value: u64| u32::try_from(value).expect("a chunk is at most 4 MiB");
        Some(ChunkSpan {
            entry: u32::try_from(entry).expect("entries were counted in 32 bits"),
            length: narrow(length),
            range: narrow(start)..narrow(end),
        })
    }

    /// Plain bytes of the chunk of entry `entry`, which must exist.
    pub(super) fn chunk_length(&self, entry: u32) -> u32 {
        assert!(entry < self.entries, "an entry of this manifest");
        let index = self.runs.partition_point(|placed| placed.entry <= entry);
        let placed = self.runs[index - 1];
        let size = u64::from(self.size);
        let chunk = u64::from(entry - placed.entry) % placed.run.length.div_ceil(size);
        let length = size.min(placed.run.length - chunk * size);
        u32::try_from(length).expect("a chunk is at most 4 MiB")
    }
}

/// The spans of a range, in order.
#[derive(Clone, Debug)]
pub struct ChunkSpans<'a> {
    pub(super) map: Option<&'a PartMap>,
    pub(super) range: Range<u64>,
}

impl Iterator for ChunkSpans<'_> {
    type Item = ChunkSpan;

    fn next(&mut self) -> Option<ChunkSpan> {
        let span = self.map?.span_at(&self.range)?;
        self.range.start += u64::from(span.range.end - span.range.start);
        Some(span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_cover_every_range_once_and_in_order() {
        let size = ChunkSize::new(256 << 10).unwrap();
        let c = 256_u64 << 10;
        let lengths = [(2, 3 * c), (1, 0), (3, c + 5), (1, 7), (1, 0)];
        let runs: Vec<_> = lengths.map(|(count, length)| PartRun { count, length }).to_vec();
        let map = PartMap::new(size, &runs).unwrap();
        // The naive map: every chunk of every part, one after the other.
        let mut chunks = Vec::new();
        for run in &runs {
            for _ in 0..run.count {
                let mut left = run.length;
                while left > 0 {
                    chunks.push(left.min(c));
                    left -= left.min(c);
                }
            }
        }
        assert_eq!(map.entries() as usize, chunks.len());
        let length: u64 = chunks.iter().sum();
        assert_eq!(map.length(), length);
        let points = [0, 1, c - 1, c, c + 1, 3 * c, 6 * c, 6 * c + 4, 7 * c + 6, length];
        for (start, end) in points.iter().flat_map(|s| points.iter().map(move |e| (*s, *e))) {
            let mut expected = Vec::new();
            let mut at = 0;
            for (entry, chunk) in (0..).zip(&chunks) {
                let (from, to) = (start.max(at), end.min(at + chunk));
                if from < to {
                    let range = (from - at) as u32..(to - at) as u32;
                    expected.push(ChunkSpan { entry, length: *chunk as u32, range });
                }
                at += chunk;
            }
            let spans = ChunkSpans { map: Some(&map), range: start..end };
            assert_eq!(spans.collect::<Vec<_>>(), expected, "{start}..{end}");
        }
        for (entry, chunk) in (0..).zip(&chunks) {
            assert_eq!(u64::from(map.chunk_length(entry)), *chunk);
        }
    }
}
