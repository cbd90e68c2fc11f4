//! Containers and blocks (CRAM specification §7, §8).

use std::io::Read;

use flate2::{Crc, read::MultiGzDecoder};

use super::cursor::{Cursor, Cut};
use crate::{
    fault::{Fault, Result},
    source::Source,
};

/// The end-of-file container of CRAM 3 (§9).
pub(super) const EOF: [u8; 38] = [
    0x0f, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0xe0, 0x45, 0x4f, 0x46, 0, 0, 0, 0, 0x01, 0, 0x05,
    0xbd, 0xd9, 0x4f, 0, 0x01, 0, 0x06, 0x06, 0x01, 0, 0x01, 0, 0x01, 0, 0xee, 0x63, 0x01, 0x4b,
];

/// A container's head is looked for in this many bytes: 5 for each of 200 000 landmarks.
const HEAD_BYTES_MAX: usize = 1 << 20;
const RAW: u8 = 0;
const GZIP: u8 = 1;
/// Greatest compression method: the name tokenizer of CRAM 3.1.
const METHOD_MAX: u8 = 8;

/// What a block holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ContentType {
    FileHeader,
    CompressionHeader,
    SliceHeader,
    External,
    Core,
}

/// One block: where it stands in its container's bytes, and its lengths.
pub(super) struct BlockHead {
    pub(super) content_type: ContentType,
    method: u8,
    raw_length: usize,
    /// Start of the block, after the container's head.
    pub(super) start: usize,
    data_start: usize,
    data_end: usize,
}

impl BlockHead {
    /// The block's content. Headers are raw or gzip; the other methods only hold data series.
    pub(super) fn inflate(&self, container: &[u8]) -> std::result::Result<Vec<u8>, String> {
        let data = &container[self.data_start..self.data_end];
        let mut content = Vec::new();
        match self.method {
            RAW => content.extend_from_slice(data),
            GZIP => {
                let limit = self.raw_length as u64 + 1;
                let mut decoder = MultiGzDecoder::new(data).take(limit);
                decoder
                    .read_to_end(&mut content)
                    .map_err(|_| "its gzip data is damaged".to_owned())?;
            }
            method => return Err(format!("a header packed with method {method}")),
        }
        if content.len() != self.raw_length {
            let raw = self.raw_length;
            return Err(format!("it claims {raw} bytes and has {}", content.len()));
        }
        Ok(content)
    }
}

/// Fields of a container's head (§7).
pub(super) struct ContainerHead {
    pub(super) length: usize,
    pub(super) record_count: u64,
    pub(super) base_count: u64,
    block_count: usize,
    pub(super) landmarks: Vec<usize>,
    /// Bytes of the head itself.
    pub(super) bytes: usize,
}

/// A container whose CRC32s and lengths have been checked.
pub(super) struct Container {
    pub(super) number: u64,
    /// Offset of the container in the source.
    pub(super) position: u64,
    pub(super) head: ContainerHead,
    pub(super) blocks: Vec<BlockHead>,
    /// Head and blocks as they stand in the source.
    pub(super) bytes: Vec<u8>,
}

impl Container {
    /// Reads container `number`, 0 being the header's.
    pub(super) fn read(source: &mut Source, number: u64, bytes_max: usize) -> Result<Self> {
        let position = source.position();
        let place = readvault_inspect_protocol::Place {
            byte: Some(position),
            block: Some(number),
            ..Default::default()
        };
        let fault = |what: String| {
            Fault::at(place, format!("CRAM container {number} at byte {position}: {what}"))
        };
        let head = read_head(source, &fault)?;
        let whole = head.bytes + head.length;
        if head.length > bytes_max {
            return Err(fault(format!("it claims {} bytes, more than {bytes_max}", head.length)));
        }
        let bytes = gather(source, whole)?;
        if bytes.len() < whole {
            return Err(fault(format!("it is cut: {} of its {whole} bytes", bytes.len())));
        }
        // Writers leave room to grow the header's container, and only there: all others are
        // blocks to their end.
        let count = (number == 0).then_some(head.block_count);
        let blocks = read_blocks(&bytes, head.bytes, count, bytes_max).map_err(fault)?;
        if head.record_count > 0 && blocks.len() != head.block_count {
            let (claimed, found) = (head.block_count, blocks.len());
            return Err(fault(format!("it claims {claimed} blocks and has {found}")));
        }
        Ok(Self { number, position, head, blocks, bytes })
    }

    /// Landmarks count from the end of the head.
    pub(super) fn landmark_start(&self, landmark: usize) -> usize {
        self.head.bytes + landmark
    }
}

fn read_head(source: &mut Source, fault: &impl Fn(String) -> Fault) -> Result<ContainerHead> {
    let mut wanted = 4096;
    loop {
        let bytes = source.require(wanted)?;
        let whole = bytes.len() < wanted;
        match parse_head(bytes) {
            Ok(head) => return head.map_err(fault),
            Err(Cut) if whole || wanted >= HEAD_BYTES_MAX => {
                return Err(fault("its head is cut".into()));
            }
            Err(Cut) => wanted *= 4,
        }
    }
}

fn parse_head(
    bytes: &[u8],
) -> std::result::Result<std::result::Result<ContainerHead, String>, Cut> {
    let mut cursor = Cursor::new(bytes);
    let length = cursor.u32()?;
    let _reference_id = cursor.itf8()?;
    let _start = cursor.itf8()?;
    let _span = cursor.itf8()?;
    let record_count = cursor.itf8()?;
    let _record_counter = cursor.ltf8()?;
    let base_count = cursor.ltf8()?;
    let block_count = cursor.itf8()?;
    let landmark_count = cursor.itf8()?;
    let Ok(landmark_count) = usize::try_from(landmark_count) else {
        return Ok(Err("its landmark count is negative".into()));
    };
    let mut landmarks = Vec::new();
    for _ in 0..landmark_count {
        landmarks.push(cursor.itf8()?);
    }
    let summed = cursor.at();
    let crc = cursor.u32()?;
    let sum = crc_of(&bytes[..summed]);
    if crc != sum {
        return Ok(Err(format!("its head's CRC32 is 0x{crc:08x}, the data's is 0x{sum:08x}")));
    }
    let landmarks: Option<Vec<_>> =
        landmarks.into_iter().map(|landmark| usize::try_from(landmark).ok()).collect();
    let head = (|| {
        Some(ContainerHead {
            length: usize::try_from(length.cast_signed()).ok()?,
            record_count: u64::try_from(record_count).ok()?,
            base_count: u64::try_from(base_count).ok()?,
            block_count: usize::try_from(block_count).ok()?,
            landmarks: landmarks?,
            bytes: cursor.at(),
        })
    })();
    Ok(head.ok_or_else(|| "its head has a negative length or count".to_owned()))
}

/// Takes `length` bytes, growing only as they arrive.
fn gather(source: &mut Source, length: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let available = source.require(1)?;
        if available.is_empty() {
            break;
        }
        let count = available.len().min(length - bytes.len());
        bytes.extend_from_slice(&available[..count]);
        source.consume(count);
    }
    Ok(bytes)
}

/// Reads `count` blocks, or all to the end of `bytes`.
fn read_blocks(
    bytes: &[u8],
    start: usize,
    count: Option<usize>,
    raw_bytes_max: usize,
) -> std::result::Result<Vec<BlockHead>, String> {
    let mut blocks = Vec::new();
    let mut at = start;
    let mut raw_bytes: usize = 0;
    while count.map_or(at < bytes.len(), |count| blocks.len() < count) {
        let number = blocks.len() + 1;
        let block = parse_block(bytes, at).map_err(|what| format!("block {number}: {what}"))?;
        raw_bytes = raw_bytes.saturating_add(block.raw_length);
        if raw_bytes > raw_bytes_max {
            return Err(format!("its blocks claim more than {raw_bytes_max} inflated bytes"));
        }
        at = block.data_end + 4;
        blocks.push(block);
    }
    Ok(blocks)
}

fn parse_block(bytes: &[u8], start: usize) -> std::result::Result<BlockHead, String> {
    parse_block_fields(bytes, start).unwrap_or_else(|Cut| Err("it is cut".into()))
}

fn parse_block_fields(
    bytes: &[u8],
    start: usize,
) -> std::result::Result<std::result::Result<BlockHead, String>, Cut> {
    let mut cursor = Cursor::new(&bytes[start..]);
    let method = cursor.byte()?;
    let content_type = match cursor.byte()? {
        0 => ContentType::FileHeader,
        1 => ContentType::CompressionHeader,
        2 => ContentType::SliceHeader,
        4 => ContentType::External,
        5 => ContentType::Core,
        other => return Ok(Err(format!("unknown content type {other}"))),
    };
    let _content_id = cursor.itf8()?;
    let length = cursor.count()?;
    let raw_length = cursor.count()?;
    let data_start = start + cursor.at();
    cursor.take(length)?;
    let data_end = start + cursor.at();
    let crc = cursor.u32()?;
    let sum = crc_of(&bytes[start..data_end]);
    if crc != sum {
        return Ok(Err(format!("its CRC32 is 0x{crc:08x}, the data's is 0x{sum:08x}")));
    }
    if method > METHOD_MAX {
        return Ok(Err(format!("unknown compression method {method}")));
    }
    if method == RAW && length != raw_length {
        return Ok(Err(format!("it is stored and claims {raw_length} bytes of {length}")));
    }
    let block = BlockHead { content_type, method, raw_length, start, data_start, data_end };
    Ok(Ok(block))
}

fn crc_of(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}
