//! Recognises, validates, counts and indexes FASTQ, uBAM, BAM, CRAM and reference FASTA.
//!
//! One room a format: [`fastq`], [`bam`], [`cram`], [`fasta`], over the packings of [`source`]
//! and [`gzip`]. Parsers are pure over readers: no files, no network, no keys, no clock. The
//! `readvault-inspect` program runs [`inspect()`] behind [`sandbox`] and [`pipe`]; nothing else
//! should feed these parsers untrusted bytes, because a dependency may panic on them.

pub mod bam;
pub mod cram;
mod etag;
pub mod fasta;
pub mod fastq;
mod fault;
mod fields;
mod gzip;
mod inspect;
mod number_text;

pub mod pipe;
mod plain;
pub mod sam_header;
pub mod sandbox;
mod source;

pub use self::{
    fault::{Fault, Result},
    inspect::{Outcome, inspect},
};
