//! Reference FASTA: names, lengths, MD5 and refget digests, and the FAI index.
//!
//! Lines of a sequence must have one length, but the last, or an index could not address it. MD5
//! follows SAM's rule (§1.3.2: upper case, printable characters only); the refget digest is
//! `SQ.` and the first 24 bytes of SHA-512 of the upper-case sequence in base64url. The semantic
//! ETag is the hash of the whole inflated file.

use std::{collections::HashSet, fmt::Write};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use md5::Md5;
use readvault_inspect_protocol::{
    Alignment, Container, EtagFamily, FileType, IndexKind, Limits, Place, ReferenceSequence,
    SourceSummary, Summary,
};
use sha2::{Digest, Sha512};

use crate::{
    etag::EtagHasher,
    fault::{Fault, Result},
    plain::Plain,
};

/// Most bytes of names in one reference.
const NAME_BYTES_MAX: usize = 64 << 20;

/// Checks a FASTA to its end; the summary and its FAI.
pub(crate) fn check(
    plain: Plain,
    limits: &Limits,
    family: EtagFamily,
) -> Result<(Summary, Option<Vec<u8>>)> {
    let mut reader = FastaReader::new(plain, limits, family);
    while reader.read_line()? {}
    reader.finish()
}

/// The sequence that is being read.
struct Open {
    name: String,
    length: u64,
    /// Offset of its first base in the inflated file.
    offset: u64,
    /// Bases and bytes of its lines, by the first of them.
    line: Option<(usize, usize)>,
    /// A line shorter than the others, which must be the last.
    short_line_seen: bool,
    md5: Md5,
    sha512: Sha512,
}

struct FastaReader {
    plain: Plain,
    line_bytes_max: usize,
    etag: EtagHasher,
    line: Vec<u8>,
    line_number: u64,
    offset: u64,
    open: Option<Open>,
    names: HashSet<String>,
    name_bytes: usize,
    sequences: Vec<ReferenceSequence>,
    index: String,
}

impl FastaReader {
    fn new(plain: Plain, limits: &Limits, family: EtagFamily) -> Self {
        Self {
            plain,
            line_bytes_max: limits.line_bytes_max,
            etag: EtagHasher::new(family),
            line: Vec::new(),
            line_number: 0,
            offset: 0,
            open: None,
            names: HashSet::new(),
            name_bytes: 0,
            sequences: Vec::new(),
            index: String::new(),
        }
    }

    /// Reads and checks one line; false at the end.
    fn read_line(&mut self) -> Result<bool> {
        self.line.clear();
        let mut ended = false;
        while !ended && self.plain.refill()? {
            let available = self.plain.available();
            let end = memchr::memchr(b'\n', available);
            let piece = &available[..end.map_or(available.len(), |end| end + 1)];
            if self.line.len() + piece.len() > self.line_bytes_max {
                let max = self.line_bytes_max;
                return Err(self.fault(format!("it is longer than {max} bytes")));
            }
            ended = end.is_some();
            let length = piece.len();
            self.line.extend_from_slice(piece);
            self.plain.consume(length);
        }
        if self.line.is_empty() {
            return Ok(false);
        }
        self.line_number += 1;
        self.etag.update(&self.line);
        let line = std::mem::take(&mut self.line);
        self.take_line(&line)?;
        self.offset += line.len() as u64;
        self.line = line;
        Ok(true)
    }

    fn take_line(&mut self, line: &[u8]) -> Result<()> {
        let content = line.strip_suffix(b"\n").unwrap_or(line);
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        if let Some(head) = content.strip_prefix(b">") {
            self.close()?;
            return self.begin(head, line.len());
        }
        let number = self.line_number;
        let fault = |place: &Plain, what: &str| line_fault(place, number, what);
        let Some(open) = &mut self.open else {
            return Err(fault(&self.plain, "it does not begin with >"));
        };
        if !content.iter().fold(true, |sound, byte| sound & is_residue(*byte)) {
            let at = content.iter().position(|byte| !is_residue(*byte)).unwrap_or_default();
            let what = format!("byte {} at column {} is not a base", content[at], at + 1);
            return Err(fault(&self.plain, &what));
        }
        let shape = (content.len(), line.len());
        match open.line {
            _ if content.is_empty() => open.short_line_seen = true,
            _ if open.short_line_seen => {
                return Err(fault(&self.plain, "it follows a line that is shorter than the first"));
            }
            None => open.line = Some(shape),
            Some(first) if shape == first => {}
            Some((bases, _)) if content.len() <= bases => open.short_line_seen = true,
            Some((bases, _)) => {
                let what = format!("it has {} bases, the first has {bases}", content.len());
                return Err(fault(&self.plain, &what));
            }
        }
        let upper = content.to_ascii_uppercase();
        open.length += upper.len() as u64;
        open.md5.update(&upper);
        open.sha512.update(&upper);
        Ok(())
    }

    fn begin(&mut self, head: &[u8], line_length: usize) -> Result<()> {
        let name = head.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
        let name = std::str::from_utf8(name).unwrap_or_default().to_owned();
        if name.is_empty() {
            return Err(self.fault("its name is empty or not UTF-8".into()));
        }
        self.name_bytes += name.len();
        if self.name_bytes > NAME_BYTES_MAX {
            return Err(self.fault(format!("names take more than {NAME_BYTES_MAX} bytes")));
        }
        if !self.names.insert(name.clone()) {
            return Err(self.fault("its name repeats that of an earlier sequence".into()));
        }
        self.open = Some(Open {
            name,
            length: 0,
            offset: self.offset + line_length as u64,
            line: None,
            short_line_seen: false,
            md5: Md5::new(),
            sha512: Sha512::new(),
        });
        Ok(())
    }

    /// Ends the open sequence.
    fn close(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let Some((bases, bytes)) = open.line else {
            let reason = "the sequence before it has no bases".to_owned();
            return Err(self.fault(reason));
        };
        // A single line without its newline is counted as htslib counts it.
        let bytes = bytes.max(bases + usize::from(bytes == bases));
        let Open { name, length, offset, md5, sha512, .. } = open;
        writeln!(self.index, "{name}\t{length}\t{offset}\t{bases}\t{bytes}")
            .expect("a string takes every character");
        self.sequences.push(ReferenceSequence {
            name,
            length,
            md5: hex::encode(md5.finalize()),
            refget: format!("SQ.{}", URL_SAFE_NO_PAD.encode(&sha512.finalize()[..24])),
        });
        Ok(())
    }

    fn fault(&self, what: String) -> Fault {
        line_fault(&self.plain, self.line_number, &what)
    }

    fn finish(mut self) -> Result<(Summary, Option<Vec<u8>>)> {
        self.close()?;
        let base_count = self.sequences.iter().map(|sequence| sequence.length).sum();
        let (container, digests) = self.plain.finish()?;
        let mut notes = Vec::new();
        let index = (container != Container::Gzip).then(|| self.index.into_bytes());
        if index.is_none() {
            notes.push("no index: a FASTA in gzip cannot be addressed; use bgzip or none".into());
        }
        let source = SourceSummary {
            read_count: self.sequences.len() as u64,
            base_count,
            byte_count: digests.byte_count,
            container,
            semantic_etag: Some(self.etag.finish()),
            sha256: digests.sha256,
            md5: digests.md5,
            crc64nvme: digests.crc64nvme,
        };
        let summary = Summary {
            file_type: FileType::Reference,
            sources: vec![source],
            alignment: Alignment::Unaligned,
            sort_order: None,
            header: None,
            reference: self.sequences,
            index: index.is_some().then_some(IndexKind::Fai),
            notes,
        };
        Ok((summary, index))
    }
}

fn is_residue(byte: u8) -> bool {
    byte.is_ascii_alphabetic() | (byte == b'*') | (byte == b'-')
}

fn line_fault(plain: &Plain, line: u64, what: &str) -> Fault {
    let place = Place {
        byte: Some(plain.source_byte()),
        block: plain.member(),
        record: None,
        line: Some(line),
    };
    Fault::at(place, format!("line {line}: {what}"))
}
