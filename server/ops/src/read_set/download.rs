//! GetReadSet: the bytes of one part of one file.

use std::ops::Range;

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use readvault_store::vault::{FileReader, FileRef};

use super::{PART_BYTES, ReadSetStatus, load};
use crate::{Fault, FaultKind, authorize::Permit, core::Core, fault::Result};

/// Which file of a read set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadSetFileName {
    /// The first source.
    #[default]
    Source1,
    /// The second source of a pair.
    Source2,
    /// The index.
    Index,
}

/// Bytes that are being read under a permit.
#[derive(Debug)]
pub struct Download {
    reader: FileReader,
    /// The bytes of the file that are sent.
    pub range: Range<u64>,
    /// Length of the whole file.
    pub length: u64,
    permit: Permit,
}

impl Download {
    /// Opens `range` of the committed `file`.
    ///
    /// # Errors
    /// Those of the vault.
    pub async fn open(
        core: &Core,
        permit: &Permit,
        file: &FileRef,
        range: Range<u64>,
    ) -> Result<Self> {
        let reader = core.vault().open_file(file).await?;
        Ok(Self { reader, range, length: file.length, permit: permit.clone() })
    }

    /// Bytes that will be sent.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// The bytes, in order; ends with an error at damage, or when the permit no longer holds.
    #[must_use]
    pub fn stream(self) -> BoxStream<'static, Result<Bytes>> {
        let permit = self.permit;
        self.reader
            .stream(self.range)
            .map(move |piece| {
                if !permit.live() {
                    return Err(Fault::new(FaultKind::AccessDenied, "access was withdrawn"));
                }
                piece.map_err(Fault::from)
            })
            .boxed()
    }
}

/// Part `number` (from 1) of file `name` of the read set `id` of `store`.
///
/// # Errors
/// `NotFound` for the read set or a file that it does not have; `InvalidState` when it is not
/// active; `InvalidRange` beyond its last part.
pub async fn part(
    core: &Core,
    permit: &Permit,
    (store, id): (&str, &str),
    (name, number): (ReadSetFileName, u64),
) -> Result<Download> {
    let read_set = load(core, store, id).await?.value;
    if read_set.status != ReadSetStatus::Active {
        return Err(Fault::new(
            FaultKind::InvalidState,
            format!("the read set is {}, not ACTIVE", read_set.status.as_str()),
        ));
    }
    let file = match name {
        ReadSetFileName::Source1 => Some(&read_set.files.source1),
        ReadSetFileName::Source2 => read_set.files.source2.as_ref(),
        ReadSetFileName::Index => read_set.files.index.as_ref(),
    };
    let file = file.ok_or_else(|| Fault::not_found("the read set has no such file"))?;
    let range = part_range(file.file.length, number)?;
    Download::open(core, permit, &file.file, range).await
}

/// Parts of a file of `length` bytes: at least one.
#[must_use]
pub fn part_count(length: u64) -> u64 {
    length.div_ceil(PART_BYTES).max(1)
}

/// The bytes of part `number` (from 1) of a file of `length` bytes.
///
/// # Errors
/// `InvalidRange` beyond the last part.
pub fn part_range(length: u64, number: u64) -> Result<Range<u64>> {
    if number == 0 || number > part_count(length) {
        return Err(Fault::new(
            FaultKind::InvalidRange,
            format!("the file has {} parts", part_count(length)),
        ));
    }
    let start = (number - 1) * PART_BYTES;
    Ok(start..length.min(start + PART_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_tile_the_file() {
        for length in [1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 5 * PART_BYTES + 7] {
            let mut at = 0;
            for number in 1..=part_count(length) {
                let range = part_range(length, number).expect("within the parts");
                assert_eq!(range.start, at);
                at = range.end;
            }
            assert_eq!(at, length);
            assert!(part_range(length, part_count(length) + 1).is_err());
            assert!(part_range(length, 0).is_err());
        }
        assert_eq!(part_range(0, 1).expect("one part"), 0..0);
    }
}
