//! Reads FASTQ records, checking each.

use readvault_inspect_protocol::{EtagFamily, Limits, Place, SourceSummary};

use crate::{
    etag::EtagHasher,
    fault::{Fault, Result},
    plain::Plain,
};

/// Reads and checks records, counts them, and hashes the inflated bytes.
pub(crate) struct FastqReader {
    plain: Plain,
    etag: EtagHasher,
    gathered: Vec<u8>,
    pending: usize,
    name: Vec<u8>,
    line_number: u64,
    line_bytes_max: usize,
    read_count: u64,
    base_count: u64,
}

/// Where the current line's bytes are.
#[derive(Clone, Copy)]
enum Line {
    Lent(usize),
    Gathered,
}

impl FastqReader {
    pub(crate) fn new(plain: Plain, limits: &Limits, family: EtagFamily) -> Self {
        let mut reader = Self {
            plain,
            etag: EtagHasher::new(family),
            gathered: Vec::new(),
            pending: 0,
            name: Vec::new(),
            line_number: 0,
            line_bytes_max: limits.line_bytes_max,
            read_count: 0,
            base_count: 0,
        };
        // What recognition has looked at already was not hashed yet.
        reader.etag.update(reader.plain.available());
        reader
    }

    /// Name of the last record, without comment and without `/1` or `/2`.
    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    /// Number of the last record, from 1.
    pub(crate) fn record_number(&self) -> u64 {
        self.read_count
    }

    /// Reads and checks one record; false at the end.
    pub(crate) fn read_record(&mut self) -> Result<bool> {
        let Some(line) = self.next_line()? else { return Ok(false) };
        self.read_count += 1;
        self.check_name(line)?;
        let (base_count, line_count) = self.read_sequence()?;
        self.read_quality(base_count, line_count)?;
        self.base_count += base_count as u64;
        Ok(true)
    }

    fn check_name(&mut self, line: Line) -> Result<()> {
        let bytes = bytes_of(line, &self.plain, &self.gathered);
        let Some((b'@', rest)) = bytes.split_first() else {
            return Err(self.fault("its name line does not begin with @"));
        };
        if rest.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            let what = describe_bad_byte(rest, |byte| byte.is_ascii_control() && byte != b'\t');
            return Err(self.fault(format!("its name line has {what}")));
        }
        let name = rest.split(|byte| matches!(byte, b' ' | b'\t')).next().unwrap_or_default();
        if name.is_empty() {
            return Err(self.fault("its name is empty"));
        }
        self.name.clear();
        self.name.extend_from_slice(pair_name(rest));
        Ok(())
    }

    /// Reads sequence lines and the separator; bases and lines.
    fn read_sequence(&mut self) -> Result<(usize, u64)> {
        let (mut base_count, mut line_count) = (0, 0);
        loop {
            let Some(line) = self.next_line()? else {
                let part = if line_count == 0 { "name" } else { "sequence" };
                return Err(self.fault(format!("it is cut after its {part} line")));
            };
            let bytes = bytes_of(line, &self.plain, &self.gathered);
            if bytes.first() == Some(&b'+') {
                if line_count == 0 {
                    return Err(self.fault("it has no sequence line"));
                }
                return Ok((base_count, line_count));
            }
            if !bytes.iter().fold(true, |sound, byte| sound & is_base(*byte)) {
                let reason = if line_count == 0 {
                    format!("its sequence has {}", describe_bad_byte(bytes, |b| !is_base(b)))
                } else {
                    "its separator line does not begin with +".into()
                };
                return Err(self.fault(reason));
            }
            // A wrapped sequence goes on with a base, a bad separator hardly does.
            if line_count > 0 && !bytes.first().is_some_and(u8::is_ascii_alphabetic) {
                return Err(self.fault("its separator line does not begin with +"));
            }
            base_count += bytes.len();
            line_count += 1;
        }
    }

    /// Reads the quality: one line where the sequence is one line, else lines until it is full.
    fn read_quality(&mut self, base_count: usize, line_count: u64) -> Result<()> {
        let mut quality_count = 0;
        loop {
            let Some(line) = self.next_line()? else {
                let reason = if quality_count == 0 {
                    "it is cut after its separator line".to_owned()
                } else {
                    format!("it is cut: {quality_count} quality values for {base_count} bases")
                };
                return Err(self.fault(reason));
            };
            let bytes = bytes_of(line, &self.plain, &self.gathered);
            if !bytes.iter().fold(true, |sound, byte| sound & is_quality(*byte)) {
                let what = describe_bad_byte(bytes, |byte| !is_quality(byte));
                return Err(self.fault(format!("its quality has {what}, outside 33 to 126")));
            }
            quality_count += bytes.len();
            if quality_count == base_count {
                return Ok(());
            }
            if line_count == 1 || quality_count > base_count || bytes.is_empty() {
                let reason = format!("{quality_count} quality values for {base_count} bases");
                return Err(self.fault(reason));
            }
        }
    }

    /// The next line without its newline; `None` at the end.
    fn next_line(&mut self) -> Result<Option<Line>> {
        self.plain.consume(std::mem::take(&mut self.pending));
        if !self.refill()? {
            return Ok(None);
        }
        self.line_number += 1;
        let line = match memchr::memchr(b'\n', self.plain.available()) {
            Some(length) => {
                self.pending = length + 1;
                Line::Lent(length)
            }
            None => {
                self.gather_line()?;
                Line::Gathered
            }
        };
        if bytes_of(line, &self.plain, &self.gathered).last() == Some(&b'\r') {
            let number = self.line_number;
            let place = self.place();
            let reason =
                format!("line {number} ends in CR LF; write the file with LF line ends (dos2unix)");
            return Err(Fault::at(place, reason));
        }
        Ok(Some(line))
    }

    /// Gathers a line that crosses pieces.
    fn gather_line(&mut self) -> Result<()> {
        self.gathered.clear();
        while self.refill()? {
            let available = self.plain.available();
            let end = memchr::memchr(b'\n', available);
            let piece = &available[..end.unwrap_or(available.len())];
            if self.gathered.len() + piece.len() > self.line_bytes_max {
                let max = self.line_bytes_max;
                let reason = format!("line {} is longer than {max} bytes", self.line_number);
                return Err(Fault::at(self.place(), reason));
            }
            self.gathered.extend_from_slice(piece);
            self.plain.consume(piece.len() + usize::from(end.is_some()));
            if end.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Refills where nothing is available, hashing what is new.
    fn refill(&mut self) -> Result<bool> {
        if !self.plain.available().is_empty() {
            return Ok(true);
        }
        let more = self.plain.refill()?;
        self.etag.update(self.plain.available());
        Ok(more)
    }

    fn place(&self) -> Place {
        Place {
            byte: Some(self.plain.source_byte()),
            block: self.plain.member(),
            record: (self.read_count > 0).then_some(self.read_count),
            line: Some(self.line_number),
        }
    }

    /// A refusal of the current record.
    pub(crate) fn fault(&self, reason: impl AsRef<str>) -> Fault {
        let (record, line) = (self.read_count, self.line_number);
        let reason = format!("record {record} (line {line}): {}", reason.as_ref());
        Fault::at(self.place(), reason)
    }

    pub(crate) fn finish(self) -> Result<SourceSummary> {
        if self.read_count == 0 {
            return Err(Fault::at_byte(0, "the source holds no reads"));
        }
        let (container, digests) = self.plain.finish()?;
        Ok(SourceSummary {
            read_count: self.read_count,
            base_count: self.base_count,
            byte_count: digests.byte_count,
            container,
            semantic_etag: Some(self.etag.finish()),
            sha256: digests.sha256,
            md5: digests.md5,
            crc64nvme: digests.crc64nvme,
        })
    }
}

fn bytes_of<'a>(line: Line, plain: &'a Plain, gathered: &'a [u8]) -> &'a [u8] {
    match line {
        Line::Lent(length) => &plain.available()[..length],
        Line::Gathered => gathered,
    }
}

/// What two mates' names must share: without the comment, then without `/1` or `/2`. Names by
/// `fastq-dump` carry the mate number at the start of the comment, which falls away with it.
fn pair_name(line: &[u8]) -> &[u8] {
    let name = line.split(|byte| matches!(byte, b' ' | b'\t')).next().unwrap_or_default();
    name.strip_suffix(b"/1").or_else(|| name.strip_suffix(b"/2")).unwrap_or(name)
}

fn is_base(byte: u8) -> bool {
    byte.is_ascii_alphabetic() | (byte == b'.') | (byte == b'-') | (byte == b'*')
}

fn is_quality(byte: u8) -> bool {
    byte.wrapping_sub(33) <= 126 - 33
}

/// The first bad byte as a number, so that a reason never quotes content.
fn describe_bad_byte(bytes: &[u8], is_bad: impl Fn(u8) -> bool) -> String {
    match bytes.iter().position(|byte| is_bad(*byte)) {
        Some(at) if bytes[at] == 0 => format!("a NUL byte at column {}", at + 1),
        Some(at) => format!("byte {} at column {}", bytes[at], at + 1),
        None => "a bad byte".into(),
    }
}
