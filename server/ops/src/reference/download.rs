//! GetReference: the bytes of one part of one file, or of a range within it.

use std::ops::Range;

use super::load;
use crate::{
    Fault, FaultKind,
    authorize::Permit,
    core::Core,
    fault::Result,
    read_set::download::{Download, part_range},
};

/// Which file of a reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReferenceFileName {
    /// The FASTA.
    #[default]
    Source,
    /// Its index.
    Index,
}

/// Which bytes of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which file.
    pub file: ReferenceFileName,
    /// Part, from 1.
    pub part: u64,
    /// First and last byte within the part; an absent end means its end.
    pub within: Option<(u64, Option<u64>)>,
}

/// The wanted bytes of the reference `id` of `store`.
///
/// # Errors
/// `NotFound` for the reference or a file that it does not have; `InvalidRange` beyond its bytes.
pub async fn part(
    core: &Core,
    permit: &Permit,
    (store, id): (&str, &str),
    wanted: Wanted,
) -> Result<Download> {
    let reference = load(core, store, id).await?.value;
    let file = match wanted.file {
        ReferenceFileName::Source => Some(&reference.source),
        ReferenceFileName::Index => reference.index.as_ref(),
    };
    let file = file.ok_or_else(|| Fault::not_found("the reference has no such file"))?;
    let part = part_range(file.file.length, wanted.part)?;
    let range = match wanted.within {
        None => part,
        Some(within) => narrow(part, within)?,
    };
    Download::open(core, permit, &file.file, range).await
}

fn narrow(part: Range<u64>, (first, last): (u64, Option<u64>)) -> Result<Range<u64>> {
    let outside = || Fault::new(FaultKind::InvalidRange, "the range lies outside the part");
    let start = part.start.checked_add(first).filter(|at| *at < part.end).ok_or_else(outside)?;
    let end = last
        .map_or(part.end, |last| part.start.saturating_add(last).saturating_add(1).min(part.end));
    if end <= start {
        return Err(outside());
    }
    Ok(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stay_within_their_part() {
        assert_eq!(narrow(100..200, (0, Some(9))).expect("inside"), 100..110);
        assert_eq!(narrow(100..200, (90, Some(500))).expect("cut"), 190..200);
        assert_eq!(narrow(100..200, (99, None)).expect("last byte"), 199..200);
        assert!(narrow(100..200, (100, None)).is_err());
        assert!(narrow(100..200, (5, Some(4))).is_err());
        assert!(narrow(100..200, (u64::MAX, None)).is_err());
    }
}
