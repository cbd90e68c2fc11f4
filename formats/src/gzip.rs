//! gzip (RFC 1952), member by member, and BGZF (SAM specification §4.1), block by block.
//!
//! Every member's CRC32 and ISIZE are checked, every BGZF block's BSIZE is followed, a BGZF file
//! must end in its end-of-file marker, and nothing may follow the last member.

use flate2::{Crc, Decompress, FlushDecompress, Status};
use readvault_inspect_protocol::{Container, Limits, Place};

use crate::{
    fault::{Fault, Result},
    source::{Source, SourceDigests},
};

/// The empty block that ends a BGZF file.
pub(crate) const BGZF_EOF: [u8; 28] = [
    0x1f, 0x8b, 0x08, 0x04, 0, 0, 0, 0, 0, 0xff, 0x06, 0, 0x42, 0x43, 0x02, 0, 0x1b, 0, 0x03, 0, 0,
    0, 0, 0, 0, 0, 0, 0,
];

/// Most inflated bytes of a BGZF block.
const BGZF_PLAIN_BYTES_MAX: usize = 1 << 16;
const OUT_BYTES: usize = 256 << 10;
const TRAILER_BYTES: usize = 8;
/// Most bytes of a member's header with its name and comment.
const HEADER_BYTES_MAX: usize = 192 << 10;
/// Inflated bytes that are let through before the ratio is looked at.
const EXPANSION_FREE_BYTES: u64 = 16 << 20;

/// A gzip source, inflated.
pub(crate) struct Gunzip {
    source: Source,
    inflate: Decompress,
    crc: Crc,
    out: Vec<u8>,
    start: usize,
    end: usize,
    member_number: u64,
    member_byte: u64,
    inside: bool,
    all_bgzf: bool,
    bgzf_only: bool,
    ends_in_marker: bool,
    plain_bytes: u64,
    plain_bytes_max: u64,
    expansion_max: u64,
}

/// A parsed member header.
struct MemberHead {
    length: usize,
    /// Whole length of the block, when it is BGZF.
    block_length: Option<usize>,
}

impl Gunzip {
    pub(crate) fn new(source: Source, limits: &Limits) -> Self {
        Self {
            source,
            inflate: Decompress::new(false),
            crc: Crc::new(),
            out: vec![0; OUT_BYTES],
            start: 0,
            end: 0,
            member_number: 0,
            member_byte: 0,
            inside: false,
            all_bgzf: true,
            bgzf_only: false,
            ends_in_marker: false,
            plain_bytes: 0,
            plain_bytes_max: limits.plain_bytes_max,
            expansion_max: limits.expansion_max,
        }
    }

    /// From now on every member must be a BGZF block; false if one already was not.
    pub(crate) fn require_bgzf(&mut self) -> bool {
        self.bgzf_only = true;
        self.all_bgzf
    }

    pub(crate) fn available(&self) -> &[u8] {
        &self.out[self.start..self.end]
    }

    pub(crate) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.end - self.start);
        self.start += count;
    }

    pub(crate) fn member_number(&self) -> u64 {
        self.member_number
    }

    pub(crate) fn member_byte(&self) -> u64 {
        self.member_byte
    }

    /// BGZF virtual offset of the next byte: block start and offset within the block.
    pub(crate) fn virtual_offset(&self) -> u64 {
        if self.start == self.end {
            self.source.position() << 16
        } else {
            self.member_byte << 16 | self.start as u64
        }
    }

    /// Makes [`Self::available`] non-empty, or returns false at a sound end.
    pub(crate) fn refill(&mut self) -> Result<bool> {
        while self.start == self.end {
            if self.inside {
                self.inflate_some()?;
            } else if !self.begin_member()? {
                return Ok(false);
            }
            self.check_expansion()?;
        }
        Ok(true)
    }

    fn begin_member(&mut self) -> Result<bool> {
        self.member_byte = self.source.position();
        let first = self.source.require(2)?;
        if first.is_empty() {
            self.check_end()?;
            return Ok(false);
        }
        if !first.starts_with(&[0x1f, 0x8b]) {
            let (number, byte) = (self.member_number, self.member_byte);
            let reason = format!("bytes follow gzip member {number}, from byte {byte}");
            return Err(self.fault(reason));
        }
        self.member_number += 1;
        let head = self.read_head()?;
        self.ends_in_marker = false;
        match head.block_length {
            Some(length) => self.inflate_block(head.length, length)?,
            None if self.bgzf_only => {
                let reason = format!("gzip member {} is not a BGZF block", self.here());
                return Err(self.fault(reason));
            }
            None => {
                self.all_bgzf = false;
                self.source.consume(head.length);
                self.inflate.reset(false);
                self.crc.reset();
                self.inside = true;
            }
        }
        Ok(true)
    }

    fn check_end(&self) -> Result<()> {
        if self.all_bgzf && !self.ends_in_marker {
            let byte = self.member_byte;
            let reason = format!(
                "the BGZF end-of-file marker is missing at byte {byte}: the file may be cut"
            );
            return Err(self.fault(reason));
        }
        Ok(())
    }

    fn read_head(&mut self) -> Result<MemberHead> {
        let mut wanted = 256;
        loop {
            let bytes = self.source.require(wanted)?;
            let whole = bytes.len() < wanted;
            match parse_head(bytes) {
                Ok(Some(head)) => return Ok(head),
                Ok(None) if whole || wanted > HEADER_BYTES_MAX => {
                    let reason = format!("gzip member {} is cut in its header", self.here());
                    return Err(self.fault(reason));
                }
                Ok(None) => wanted *= 4,
                Err(what) => {
                    let reason = format!("gzip member {}: {what}", self.here());
                    return Err(self.fault(reason));
                }
            }
        }
    }

    /// Inflates one whole BGZF block in one call.
    fn inflate_block(&mut self, head_length: usize, length: usize) -> Result<()> {
        let here = self.here();
        let (byte, number) = (self.member_byte, self.member_number);
        let fault = |what: String| {
            let place = Place { byte: Some(byte), block: Some(number), ..Place::default() };
            Fault::at(place, format!("BGZF block {here}: {what}"))
        };
        let block = self.source.require(length)?;
        if block.len() < length {
            let what = format!("it is cut: {} of its {length} bytes are there", block.len());
            return Err(fault(what));
        }
        let block = &block[..length];
        if length < head_length + TRAILER_BYTES {
            return Err(fault(format!("BSIZE says {length} bytes, less than its header needs")));
        }
        let (data, trailer) = block[head_length..].split_at(length - head_length - TRAILER_BYTES);
        let (crc, isize) = split_trailer(trailer);
        if isize as usize > BGZF_PLAIN_BYTES_MAX {
            return Err(fault(format!("ISIZE is {isize}, more than a block may hold")));
        }
        self.inflate.reset(false);
        let out = &mut self.out[..=BGZF_PLAIN_BYTES_MAX];
        let status = self.inflate.decompress(data, out, FlushDecompress::Finish);
        let (read, written) = (self.inflate.total_in(), self.inflate.total_out() as usize);
        match status {
            Ok(Status::StreamEnd) if read == data.len() as u64 => {}
            Ok(Status::StreamEnd) => {
                return Err(fault("bytes follow its deflate stream".into()));
            }
            _ => return Err(fault("its deflate stream is damaged".into())),
        }
        if written != isize as usize {
            return Err(fault(format!("ISIZE is {isize}, the data has {written} bytes")));
        }
        self.crc.reset();
        self.crc.update(&self.out[..written]);
        if self.crc.sum() != crc {
            let sum = self.crc.sum();
            return Err(fault(format!("CRC32 is 0x{crc:08x}, the data's is 0x{sum:08x}")));
        }
        self.ends_in_marker = block == BGZF_EOF;
        self.source.consume(length);
        self.plain_bytes += written as u64;
        (self.start, self.end) = (0, written);
        Ok(())
    }

    /// Inflates the next piece of a member that is not BGZF.
    fn inflate_some(&mut self) -> Result<()> {
        let input = self.source.require(1)?;
        if input.is_empty() {
            let at = self.source.position();
            let reason = format!("gzip member {} is cut at byte {at}", self.here());
            return Err(self.fault(reason));
        }
        let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self.inflate.decompress(input, &mut self.out, FlushDecompress::None);
        let read = (self.inflate.total_in() - before_in) as usize;
        let written = (self.inflate.total_out() - before_out) as usize;
        self.source.consume(read);
        self.crc.update(&self.out[..written]);
        self.plain_bytes += written as u64;
        (self.start, self.end) = (0, written);
        match status {
            Ok(Status::StreamEnd) => self.end_member(),
            Ok(_) if read > 0 || written > 0 => Ok(()),
            _ => {
                let at = self.source.position();
                let here = self.here();
                let reason =
                    format!("gzip member {here}: its deflate stream is damaged before byte {at}");
                Err(self.fault(reason))
            }
        }
    }

    fn end_member(&mut self) -> Result<()> {
        self.inside = false;
        let trailer = self.source.require(TRAILER_BYTES)?;
        if trailer.len() < TRAILER_BYTES {
            let reason = format!("gzip member {} is cut in its trailer", self.here());
            return Err(self.fault(reason));
        }
        let (crc, isize) = split_trailer(&trailer[..TRAILER_BYTES]);
        self.source.consume(TRAILER_BYTES);
        let (sum, amount) = (self.crc.sum(), self.crc.amount());
        let here = self.here();
        if sum != crc {
            let reason =
                format!("gzip member {here}: CRC32 is 0x{crc:08x}, the data's is 0x{sum:08x}");
            return Err(self.fault(reason));
        }
        if amount != isize {
            let reason = format!("gzip member {here}: ISIZE is {isize}, the data's is {amount}");
            return Err(self.fault(reason));
        }
        Ok(())
    }

    fn check_expansion(&self) -> Result<()> {
        let allowed = self.source.position().saturating_mul(self.expansion_max);
        if self.plain_bytes > EXPANSION_FREE_BYTES && self.plain_bytes > allowed {
            let (plain, packed) = (self.plain_bytes, self.source.position());
            let reason = format!(
                "gzip member {}: {packed} bytes inflate to more than {plain}, beyond {} to 1",
                self.here(),
                self.expansion_max
            );
            return Err(self.fault(reason));
        }
        if self.plain_bytes > self.plain_bytes_max {
            let reason = format!("more than {} inflated bytes", self.plain_bytes_max);
            return Err(self.fault(reason));
        }
        Ok(())
    }

    /// Number and byte of the current member, in words.
    fn here(&self) -> String {
        format!("{} at byte {}", self.member_number, self.member_byte)
    }

    fn fault(&self, reason: String) -> Fault {
        let block = (self.member_number > 0).then_some(self.member_number);
        let place = Place { byte: Some(self.member_byte), block, ..Place::default() };
        Fault::at(place, reason)
    }

    pub(crate) fn finish(self) -> Result<(Container, SourceDigests)> {
        let container = if self.all_bgzf { Container::Bgzf } else { Container::Gzip };
        Ok((container, self.source.finish()?))
    }
}

fn split_trailer(trailer: &[u8]) -> (u32, u32) {
    let word = |at: usize| {
        let bytes = trailer[at..at + 4].try_into().expect("a trailer has eight bytes");
        u32::from_le_bytes(bytes)
    };
    (word(0), word(4))
}

/// Parses a member header (RFC 1952 §2.3); `None` when `bytes` ends inside it.
fn parse_head(bytes: &[u8]) -> std::result::Result<Option<MemberHead>, &'static str> {
    const FHCRC: u8 = 2;
    const FEXTRA: u8 = 4;
    const FNAME: u8 = 8;
    const FCOMMENT: u8 = 16;
    const RESERVED: u8 = 0xe0;
    let Some(&[_, _, method, flags, ..]) = bytes.first_chunk::<10>().map(|head| &head[..]) else {
        return Ok(None);
    };
    if method != 8 {
        return Err("its compression method is not deflate");
    }
    if flags & RESERVED != 0 {
        return Err("its reserved flags are set");
    }
    let mut at = 10;
    let mut block_length = None;
    if flags & FEXTRA != 0 {
        let Some(length) = bytes.get(at..at + 2) else { return Ok(None) };
        let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
        let Some(extra) = bytes.get(at + 2..at + 2 + length) else { return Ok(None) };
        block_length = find_block_length(extra);
        at += 2 + length;
    }
    for flag in [FNAME, FCOMMENT] {
        if flags & flag != 0 {
            let Some(rest) = bytes.get(at..) else { return Ok(None) };
            let Some(length) = memchr::memchr(0, rest) else { return Ok(None) };
            at += length + 1;
        }
    }
    if flags & FHCRC != 0 {
        at += 2;
    }
    Ok((at <= bytes.len()).then_some(MemberHead { length: at, block_length }))
}

/// Length of the whole block by its BC subfield.
fn find_block_length(mut extra: &[u8]) -> Option<usize> {
    while let [id1, id2, low, high, rest @ ..] = extra {
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        let field = rest.get(..length)?;
        if (*id1, *id2, length) == (b'B', b'C', 2) {
            return Some(usize::from(u16::from_le_bytes([field[0], field[1]])) + 1);
        }
        extra = &rest[length..];
    }
    None
}
