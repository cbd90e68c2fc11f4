//! Which bytes of an object are asked for: pure.

use std::ops::Range;

use crate::{Fault, FaultKind, fault::Result};

/// What part of an object is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// All of it.
    #[default]
    Whole,
    /// From a first byte to a last one, which may lie beyond the end, or to the end.
    From(u64, Option<u64>),
    /// The last bytes, at most this many.
    Last(u64),
    /// One of the parts that it was put in, counted from 1.
    Part(u32),
}

/// The bytes that are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The bytes.
    pub range: Range<u64>,
    /// Whether the answer says so (206 and Content-Range).
    pub partial: bool,
}

/// Plans `wanted` of an object of `length` bytes that was put in `parts`.
///
/// # Errors
/// `InvalidRange` when it lies outside the object; `InvalidPart` when there is no such part.
pub fn plan(wanted: Wanted, length: u64, parts: &[(u32, u64)]) -> Result<Planned> {
    let outside = || Fault::new(FaultKind::InvalidRange, "the requested range is not satisfiable");
    let range = match wanted {
        Wanted::Whole => return Ok(Planned { range: 0..length, partial: false }),
        Wanted::From(first, last) => {
            if first >= length || last.is_some_and(|last| last < first) {
                return Err(outside());
            }
            first..last.map_or(length, |last| last.saturating_add(1).min(length))
        }
        Wanted::Last(0) => return Err(outside()),
        Wanted::Last(_) if length == 0 => return Err(outside()),
        Wanted::Last(count) => length.saturating_sub(count)..length,
        Wanted::Part(number) => part(number, length, parts)?,
    };
    Ok(Planned { range, partial: true })
}

/// Number of parts that an object was put in; 0 when it was put whole.
#[must_use]
pub fn part_count(parts: &[(u32, u64)]) -> u32 {
    parts.iter().map(|(count, _)| count).sum()
}

/// Adds a part of `bytes` to runs of parts.
pub fn push_part(parts: &mut Vec<(u32, u64)>, bytes: u64) {
    match parts.last_mut() {
        Some((count, each)) if *each == bytes => *count += 1,
        _ => parts.push((1, bytes)),
    }
}

fn part(number: u32, length: u64, parts: &[(u32, u64)]) -> Result<Range<u64>> {
    if parts.is_empty() && number == 1 {
        return Ok(0..length);
    }
    let mut start = 0;
    let mut before = 0;
    for (count, bytes) in parts {
        if number > before && number <= before + count {
            start += u64::from(number - before - 1) * bytes;
            return Ok(start..start + bytes);
        }
        before += count;
        start += u64::from(*count) * bytes;
    }
    Err(Fault::new(FaultKind::InvalidPart, "the requested part number is not satisfiable"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_clamped_to_the_object() {
        let planned = |wanted| plan(wanted, 10, &[]).map(|p| (p.range, p.partial)).ok();
        assert_eq!(planned(Wanted::Whole), Some((0..10, false)));
        assert_eq!(planned(Wanted::From(0, None)), Some((0..10, true)));
        assert_eq!(planned(Wanted::From(3, Some(3))), Some((3..4, true)));
        assert_eq!(planned(Wanted::From(9, Some(u64::MAX))), Some((9..10, true)));
        assert_eq!(planned(Wanted::Last(3)), Some((7..10, true)));
        assert_eq!(planned(Wanted::Last(u64::MAX)), Some((0..10, true)));
        for outside in [Wanted::From(10, None), Wanted::From(4, Some(3)), Wanted::Last(0)] {
            assert_eq!(planned(outside), None);
            assert_eq!(plan(outside, 10, &[]).unwrap_err().kind, FaultKind::InvalidRange);
        }
        assert_eq!(plan(Wanted::Whole, 0, &[]).unwrap().range, 0..0);
        for outside in [Wanted::From(0, None), Wanted::Last(1)] {
            assert_eq!(plan(outside, 0, &[]).unwrap_err().kind, FaultKind::InvalidRange);
        }
    }

    #[test]
    fn parts_are_where_they_were_put() {
        let mut parts = Vec::new();
        let lengths = [8, 8, 8, 5, 5, 2];
        lengths.iter().for_each(|bytes| push_part(&mut parts, *bytes));
        assert_eq!(parts, [(3, 8), (2, 5), (1, 2)]);
        assert_eq!(part_count(&parts), 6);
        let mut start = 0;
        for (index, bytes) in lengths.iter().enumerate() {
            let wanted = Wanted::Part(index as u32 + 1);
            assert_eq!(plan(wanted, 36, &parts).unwrap().range, start..start + bytes);
            start += bytes;
        }
        for number in [0, 7, u32::MAX] {
            let fault = plan(Wanted::Part(number), 36, &parts).unwrap_err();
            assert_eq!(fault.kind, FaultKind::InvalidPart);
        }
        assert_eq!(plan(Wanted::Part(1), 36, &[]).unwrap().range, 0..36);
        assert!(plan(Wanted::Part(2), 36, &[]).is_err());
    }
}
