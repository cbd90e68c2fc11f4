//! What the inspector answers.

use serde::{Deserialize, Serialize};

use crate::FileType;

/// Outcome of an inspection.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Verdict {
    /// The bytes are sound; what they hold.
    Accepted(Box<Summary>),
    /// The bytes are not taken, and why.
    Refused(Refusal),
}

impl Verdict {
    /// A refusal of the whole read set, without a place.
    #[must_use]
    pub fn refused(reason: impl Into<String>) -> Self {
        Self::Refused(Refusal { source: None, place: Place::default(), reason: reason.into() })
    }
}

/// Why bytes were not taken.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Refusal {
    /// Number of the source, from 0; `None` when it concerns all or the inspector itself.
    pub source: Option<usize>,
    /// Where.
    pub place: Place,
    /// What is wrong and where, in words. It never quotes bases, qualities or read names.
    pub reason: String,
}

/// Where in a source. What does not apply, or is not known, is `None`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Place {
    /// Offset in the bytes as uploaded, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub byte: Option<u64>,
    /// Number of the gzip member, BGZF block or CRAM container, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<u64>,
    /// Number of the record, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    /// Number of the line of text, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
}

/// How a source is packed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Container {
    /// Not compressed.
    Plain,
    /// gzip, one member or several.
    Gzip,
    /// BGZF, with its end-of-file marker.
    Bgzf,
    /// CRAM 3.0.
    #[serde(rename = "cram3.0")]
    Cram30,
    /// CRAM 3.1.
    #[serde(rename = "cram3.1")]
    Cram31,
}

/// Whether any read is mapped.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Alignment {
    /// At least one read is mapped.
    Aligned,
    /// None is.
    Unaligned,
}

/// Kind of the index that came with the verdict.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IndexKind {
    /// BAM index.
    Bai,
    /// Coordinate-sorted index, where a sequence is longer than 2^29 bases.
    Csi,
    /// CRAM index, gzipped.
    Crai,
    /// FASTA index.
    Fai,
}

impl IndexKind {
    /// Ending of an index file of this kind, without the dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Bai => "bai",
            Self::Csi => "csi",
            Self::Crai => "crai",
            Self::Fai => "fai",
        }
    }
}

/// What a read set or reference holds.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Summary {
    /// Type as recognised.
    pub file_type: FileType,
    /// One entry a source, in order.
    pub sources: Vec<SourceSummary>,
    /// Whether any read is mapped.
    pub alignment: Alignment,
    /// Order that the records were seen to be in: `coordinate`, or `None`.
    pub sort_order: Option<String>,
    /// Facts of the SAM header; `None` for FASTQ and references.
    pub header: Option<HeaderFacts>,
    /// Sequences of a reference; empty for read sets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reference: Vec<ReferenceSequence>,
    /// Kind of the index built; `None` when there is none, and then a note says why.
    pub index: Option<IndexKind>,
    /// Remarks for the status message, in words.
    pub notes: Vec<String>,
}

/// One source.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct SourceSummary {
    /// Records of any kind, as `samtools view -c` counts them.
    pub read_count: u64,
    /// Bases over those records.
    pub base_count: u64,
    /// Bytes as uploaded.
    pub byte_count: u64,
    /// Packing.
    pub container: Container,
    /// Hash of the content, in lower-case hex; see `docs/formats.md`. `None`: a note says why.
    pub semantic_etag: Option<String>,
    /// SHA-256 of the bytes as uploaded, lower-case hex.
    pub sha256: String,
    /// MD5 of the bytes as uploaded, lower-case hex.
    pub md5: String,
    /// CRC64NVME of the bytes as uploaded.
    pub crc64nvme: u64,
}

/// Facts of a SAM header.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct HeaderFacts {
    /// `@HD SO`.
    pub sort_order: Option<String>,
    /// `@HD GO`.
    pub group_order: Option<String>,
    /// `@RG` lines.
    pub read_groups: Vec<ReadGroupFact>,
    /// `@PG` lines, in order.
    pub programs: Vec<ProgramFact>,
    /// Sequence dictionary, in order.
    pub sequences: Vec<crate::SequenceFact>,
}

/// One `@RG` line.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ReadGroupFact {
    /// `ID`.
    pub id: String,
    /// `SM`, the sample.
    pub sample: Option<String>,
    /// `LB`, the library.
    pub library: Option<String>,
    /// `PL`, the platform.
    pub platform: Option<String>,
}

/// One `@PG` line.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ProgramFact {
    /// `ID`.
    pub id: String,
    /// `PP`, the program before it.
    pub previous: Option<String>,
}

/// One sequence of a reference.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ReferenceSequence {
    /// Name, up to the first white space.
    pub name: String,
    /// Length in bases.
    pub length: u64,
    /// MD5 of the upper-case sequence, lower-case hex: the `M5` of SAM.
    pub md5: String,
    /// refget digest, `SQ.` and 32 characters.
    pub refget: String,
}
