//! Two FASTQ sources read in step.

use readvault_inspect_protocol::{EtagFamily, Limits, Place, SourceSummary};

use super::reader::FastqReader;
use crate::{fault::Fault, plain::Plain};

/// Checks a pair: each source by itself, equal counts, and equal names record by record.
///
/// # Errors
/// The fault, with the number of the source that it is in.
pub(crate) fn check_pair(
    [first, second]: [Plain; 2],
    limits: &Limits,
    family: EtagFamily,
) -> Result<Vec<SourceSummary>, (usize, Fault)> {
    let mut first = FastqReader::new(first, limits, family);
    let mut second = FastqReader::new(second, limits, family);
    loop {
        let more = (
            first.read_record().map_err(|fault| (0, fault))?,
            second.read_record().map_err(|fault| (1, fault))?,
        );
        match more {
            (true, true) => {
                if first.name() != second.name() {
                    let number = first.record_number();
                    let reason = format!(
                        "record {number} of the two sources has different names: the mates are \
                         out of step"
                    );
                    return Err((1, Fault::at(record_place(number), reason)));
                }
            }
            (false, false) => break,
            (more_in_first, _) => return Err(uneven(&first, &second, more_in_first)),
        }
    }
    let first = first.finish().map_err(|fault| (0, fault))?;
    let second = second.finish().map_err(|fault| (1, fault))?;
    Ok(vec![first, second])
}

fn uneven(first: &FastqReader, second: &FastqReader, more_in_first: bool) -> (usize, Fault) {
    let (short, count) =
        if more_in_first { (1, second.record_number()) } else { (0, first.record_number()) };
    let (short_name, long_name) = (short + 1, 2 - short);
    let reason = format!(
        "source {short_name} ends after record {count}, source {long_name} has more: the counts \
         of the pair differ"
    );
    (short, Fault::at(record_place(count), reason))
}

fn record_place(record: u64) -> Place {
    Place { record: Some(record), ..Place::default() }
}
