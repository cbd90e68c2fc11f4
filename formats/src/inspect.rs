//! Recognises a read set and has it checked by the room of its format.

use std::io::{self, Read};

use readvault_inspect_protocol::{
    FileType, HeaderFacts, InspectRequest, Place, Refusal, SequenceFact, Summary, Verdict,
};

use crate::{
    bam, cram, fasta, fastq,
    fault::{Fault, Result},
    plain::Plain,
    source::Source,
};

/// A verdict, and the index where one was built.
#[derive(Debug)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// Bytes of the index that the summary names.
    pub index: Option<Vec<u8>>,
}

/// What the first bytes are.
enum Opened {
    Fastq(Plain),
    Fasta(Plain),
    Bam(Box<crate::gzip::Gunzip>),
    Cram(Box<Source>),
}

/// A fault and the number of the source that it is in.
type Located<T> = std::result::Result<T, (Option<usize>, Fault)>;

/// Inspects `inputs`, one a source of `request`.
///
/// Memory stays flat whatever the length of the sources: two mates are read in step. A dependency
/// may panic on hostile bytes; the caller catches that.
///
/// # Errors
/// Those of reading an input. Whatever the bytes are, the answer is a verdict.
pub fn inspect(request: &InspectRequest, inputs: Vec<Box<dyn Read>>) -> io::Result<Outcome> {
    match inspect_sources(request, inputs) {
        Ok((summary, index)) => {
            Ok(Outcome { verdict: Verdict::Accepted(Box::new(summary)), index })
        }
        Err((source, Fault::Refused { place, reason })) => {
            let verdict = Verdict::Refused(Refusal { source, place, reason });
            Ok(Outcome { verdict, index: None })
        }
        Err((_, Fault::Input(error))) => Err(error),
    }
}

fn inspect_sources(
    request: &InspectRequest,
    inputs: Vec<Box<dyn Read>>,
) -> Located<(Summary, Option<Vec<u8>>)> {
    let whole = |reason: &str| (None, Fault::at(Place::default(), reason));
    if inputs.len() != request.sources.len() {
        return Err(whole("the number of sources is not that of the request"));
    }
    let mut opened = Vec::new();
    for (number, (input, info)) in inputs.into_iter().zip(&request.sources).enumerate() {
        let source = Source::new(input, info.length);
        opened.push(open(source, request).map_err(|fault| (Some(number), fault))?);
    }
    let mut opened = opened.into_iter();
    let family = request.etag_family;
    let limits = &request.limits;
    match (opened.next(), opened.next(), opened.next()) {
        (Some(only), None, None) => check_one(only, request).map_err(|fault| (Some(0), fault)),
        (Some(Opened::Fastq(first)), Some(Opened::Fastq(second)), None) => {
            let sources = fastq::check_pair([first, second], limits, family)
                .map_err(|(number, fault)| (Some(number), fault))?;
            Ok((fastq::summarise(sources), None))
        }
        (Some(_), Some(_), None) => Err(whole("only FASTQ comes in two sources")),
        _ => Err(whole("a read set has one source, or two of FASTQ")),
    }
}

fn check_one(opened: Opened, request: &InspectRequest) -> Result<(Summary, Option<Vec<u8>>)> {
    let (limits, family) = (&request.limits, request.etag_family);
    match opened {
        Opened::Fastq(plain) => {
            let source = fastq::check(plain, limits, family)?;
            Ok((fastq::summarise(vec![source]), None))
        }
        Opened::Fasta(plain) => fasta::check(plain, limits, family),
        Opened::Bam(gunzip) => bam::check(*gunzip, request, request.file_type),
        Opened::Cram(source) => cram::check(*source, request),
    }
}

/// Recognises a source by its bytes and holds it against the declared type.
fn open(mut source: Source, request: &InspectRequest) -> Result<Opened> {
    let head = source.require(8)?;
    if head.starts_with(b"CRAM") {
        agree(request.file_type, &[FileType::Cram], "CRAM")?;
        return Ok(Opened::Cram(Box::new(source)));
    }
    if head.starts_with(b"crypt4gh") {
        return Err(Fault::at_byte(0, "the source is a Crypt4GH container; decrypt it first"));
    }
    let mut plain = Plain::open(source, &request.limits)?;
    if !plain.refill()? {
        return Err(Fault::at_byte(0, "the source holds no reads: its content is empty"));
    }
    let available = plain.available();
    if let Plain::Gzip(gunzip) = plain {
        if gunzip.available().starts_with(b"BAM\x01") {
            agree(request.file_type, &[FileType::Bam, FileType::Ubam], "BAM")?;
            return Ok(Opened::Bam(gunzip));
        }
        plain = Plain::Gzip(gunzip);
        return open_text(plain, request);
    }
    if available.starts_with(b"BAM\x01") {
        return Err(Fault::at_byte(0, "the BAM is not packed in BGZF blocks"));
    }
    open_text(plain, request)
}

fn open_text(plain: Plain, request: &InspectRequest) -> Result<Opened> {
    match plain.available() {
        text if is_sam(text) => Err(Fault::at_byte(
            0,
            "SAM text is not an accepted type; convert it with samtools view -b",
        )),
        [b'>', ..] => {
            agree(request.file_type, &[FileType::Reference], "FASTA")?;
            Ok(Opened::Fasta(plain))
        }
        [b'@', ..] => {
            agree(request.file_type, &[FileType::Fastq], "FASTQ")?;
            Ok(Opened::Fastq(plain))
        }
        _ => match request.file_type {
            // A damaged first line is better told by the reader of the declared type.
            Some(FileType::Fastq) => Ok(Opened::Fastq(plain)),
            Some(FileType::Reference) => Ok(Opened::Fasta(plain)),
            Some(declared) => {
                let reason = format!("{declared} was declared, the bytes do not begin as one");
                Err(Fault::at_byte(0, reason))
            }
            None => Err(Fault::at_byte(0, "the bytes begin as none of FASTQ, BAM, CRAM or FASTA")),
        },
    }
}

/// Whether text begins with a SAM header line, which FASTQ names hardly do: `@XX` and a tab.
fn is_sam(text: &[u8]) -> bool {
    let kinds: [&[u8]; 5] = [b"@HD\t", b"@SQ\t", b"@RG\t", b"@PG\t", b"@CO\t"];
    kinds.into_iter().any(|kind| text.starts_with(kind))
}

fn agree(declared: Option<FileType>, allowed: &[FileType], found: &str) -> Result<()> {
    match declared {
        Some(declared) if !allowed.contains(&declared) => {
            Err(Fault::at_byte(0, format!("{declared} was declared, the bytes are {found}")))
        }
        _ => Ok(()),
    }
}

/// Holds the header's sequences against the reference that was given.
pub(crate) fn check_reference(
    facts: &HeaderFacts,
    reference: Option<&[SequenceFact]>,
) -> Result<()> {
    let Some(reference) = reference else { return Ok(()) };
    let known: std::collections::HashMap<_, _> =
        reference.iter().map(|fact| (fact.name.as_str(), fact)).collect();
    for (number, fact) in (1_u64..).zip(&facts.sequences) {
        let difference = match known.get(fact.name.as_str()) {
            None => "is not in the reference".to_owned(),
            Some(known) if known.length != fact.length => {
                format!("has {} bases, in the reference {}", fact.length, known.length)
            }
            Some(known) => match (&known.md5, &fact.md5) {
                (Some(expected), Some(found)) if expected != found => {
                    format!("has M5 {found}, in the reference {expected}")
                }
                _ => continue,
            },
        };
        let reason = format!("@SQ line {number}: sequence {} {difference}", fact.name);
        return Err(Fault::at(Place::default(), reason));
    }
    Ok(())
}
