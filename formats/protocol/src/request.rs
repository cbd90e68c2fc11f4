//! What the server asks.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Kind of file, by the names of the HealthOmics API, and `REFERENCE` for a FASTA.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum FileType {
    /// One file of reads, or a pair of them.
    Fastq,
    /// A BAM without a mapped read.
    Ubam,
    /// A BAM.
    Bam,
    /// A CRAM 3.0 or 3.1.
    Cram,
    /// A FASTA of reference sequences.
    Reference,
}

impl FileType {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fastq => "FASTQ",
            Self::Ubam => "UBAM",
            Self::Bam => "BAM",
            Self::Cram => "CRAM",
            Self::Reference => "REFERENCE",
        }
    }

    /// The type of that name, upper or lower case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Fastq, Self::Ubam, Self::Bam, Self::Cram, Self::Reference]
            .into_iter()
            .find(|file_type| file_type.as_str().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Hash of the semantic ETag, chosen when a sequence store is created.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum EtagFamily {
    /// MD5.
    #[default]
    MD5up,
    /// SHA-256.
    SHA256up,
    /// SHA-512.
    SHA512up,
}

/// One source of the read set.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct SourceInfo {
    /// Name for people; it never becomes a path.
    pub name: String,
    /// Length in bytes, when known: another count of bytes is a refusal.
    pub length: Option<u64>,
}

/// A sequence of the reference that the read set was given.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct SequenceFact {
    /// Name, as in `@SQ SN`.
    pub name: String,
    /// Length in bases.
    pub length: u64,
    /// MD5 of the upper-case sequence in lower-case hex, as in `@SQ M5`, when known.
    pub md5: Option<String>,
}

/// Bounds on what one inspection may use. Exceeding one is a refusal that names it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Limits {
    /// Inflated bytes of one source.
    pub plain_bytes_max: u64,
    /// Inflated bytes per compressed byte, after the first 16 MiB.
    pub expansion_max: u64,
    /// Bytes of one line of text.
    pub line_bytes_max: usize,
    /// Bytes of one BAM record.
    pub record_bytes_max: usize,
    /// Bytes of a header, text and binary together.
    pub header_bytes_max: usize,
    /// Bytes of one CRAM container, and of its inflated blocks.
    pub container_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: usize = 1 << 20;
        Self {
            plain_bytes_max: 1 << 44,
            expansion_max: 200,
            line_bytes_max: 256 * MIB,
            record_bytes_max: 256 * MIB,
            header_bytes_max: 128 * MIB,
            container_bytes_max: 512 * MIB,
        }
    }
}

/// What the inspector is asked about one read set.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct InspectRequest {
    /// The type that was declared; `None` lets the bytes decide.
    pub file_type: Option<FileType>,
    /// One source, or the two of a FASTQ pair.
    pub sources: Vec<SourceInfo>,
    /// Facts of the reference that was given, which `@SQ` lines must agree with.
    pub reference: Option<Vec<SequenceFact>>,
    /// Bounds.
    pub limits: Limits,
    /// Hash of the semantic ETag.
    pub etag_family: EtagFamily,
}
