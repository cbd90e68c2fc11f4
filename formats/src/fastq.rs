//! FASTQ, single and paired, plain, gzip or BGZF.
//!
//! A record is `@` and a name, the sequence, `+`, and as many quality values as bases, each 33
//! to 126. Sequence and quality may be wrapped over several lines. Lines end in LF: a file with
//! CR LF is refused, because aligners take the CR for a quality value. The newline after the last
//! line may be missing. The semantic ETag is the hash of the whole inflated file.

mod pair;
mod reader;

use readvault_inspect_protocol::{Alignment, EtagFamily, FileType, Limits, SourceSummary, Summary};

pub(crate) use self::pair::check_pair;
use self::reader::FastqReader;
use crate::{fault::Result, plain::Plain};

/// Checks one FASTQ to its end.
pub(crate) fn check(plain: Plain, limits: &Limits, family: EtagFamily) -> Result<SourceSummary> {
    let mut reader = FastqReader::new(plain, limits, family);
    while reader.read_record()? {}
    reader.finish()
}

/// The summary of one or two FASTQ sources.
pub(crate) fn summarise(sources: Vec<SourceSummary>) -> Summary {
    Summary {
        file_type: FileType::Fastq,
        sources,
        alignment: Alignment::Unaligned,
        sort_order: None,
        header: None,
        reference: Vec::new(),
        index: None,
        notes: Vec::new(),
    }
}
