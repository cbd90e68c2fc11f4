//! The records of RocksDB's logs and manifests.
//!
//! Layout, from RocksDB's description of its log: blocks of 32 KiB; records of `u32 masked CRC-32C of type and
//! payload ‖ u16 length ‖ u8 type ‖ payload`, none across blocks; what is left of a block that has no room for a
//! record's header is zeros.

use std::io::{Error, ErrorKind, Read, Result};

use crate::file_cipher::{FileCipher, PREFIX_BYTES};

pub(crate) const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;
/// The type of a record that is whole.
pub(crate) const WHOLE: u8 = 1;
/// The type of a first piece; 3 and 4 are the middle and the last.
pub(crate) const FIRST: u8 = 2;
/// Types of pieces that this backend's settings never write.
const TYPES_END: u8 = 5;

/// What stands at an offset of a block.
pub(crate) type Found<'a> = (usize, Option<(u8, &'a [u8])>);

/// The records of a block with their offsets, type and payload; where none checks, nothing, and on at the next byte.
pub(crate) fn records(block: &[u8]) -> impl Iterator<Item = Found<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = block.get(at..).filter(|rest| rest.len() >= HEADER_BYTES)?;
        let (found, start) = (record(rest), at);
        at += found.map_or(1, |(_, payload)| HEADER_BYTES + payload.len());
        Some((start, found))
    })
}

fn record(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (crc, rest) = bytes.split_first_chunk::<4>()?;
    let (length, checked) = rest.split_first_chunk::<2>()?;
    let kind = *checked.first()?;
    let checked = checked.get(..1 + usize::from(u16::from_le_bytes(*length)))?;
    if kind == 0 || kind >= TYPES_END {
        return None;
    }
    let expected = crc32c::crc32c(checked).rotate_right(15).wrapping_add(0xa282_ead8);
    (u32::from_le_bytes(*crc) == expected).then(|| (kind, &checked[1..]))
}

/// Gives `each` the blocks of `file`, which stands behind its prefix, deciphered, with their offsets in the file.
pub(crate) fn each_block(
    file: &mut impl Read,
    cipher: &FileCipher,
    mut each: impl FnMut(u64, &[u8]),
) -> Result<()> {
    let mut block = vec![0; BLOCK_BYTES];
    let mut offset = PREFIX_BYTES as u64;
    loop {
        let length = fill(file, &mut block)?;
        let deciphered = cipher.apply(offset, &mut block[..length]);
        deciphered.map_err(|_| Error::other("deciphering a file of the catalog"))?;
        each(offset, &block[..length]);
        if length < BLOCK_BYTES {
            return Ok(());
        }
        offset += length as u64;
    }
}

/// Reads until `buffer` is full or the file ends.
pub(crate) fn fill(file: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
