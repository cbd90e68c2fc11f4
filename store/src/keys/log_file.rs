//! The file form of the key log: a header, then CRC-framed entries (`docs/format.md` §6.2).

use super::KeyEntry;
use crate::{
    ids::VaultId,
    seal::{Reader, RecordError},
};

pub(super) const MAGIC: [u8; 4] = *b"RVl1";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 4 + 1 + 16 + 4;
const ENTRY_BYTES_MAX: usize = 64 << 10;

/// How a log file ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// Behind an entry.
    Whole,
    /// By an append that was cut short.
    Torn,
    /// An entry in the middle fails its checksum or makes no sense.
    Damaged,
}

/// What a log file holds up to its first fault.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) vault: VaultId,
    pub(super) entries: Vec<KeyEntry>,
    /// Bytes up to there.
    pub(super) sound_bytes: usize,
    pub(super) ending: Ending,
}

pub(super) fn header(vault: VaultId) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.push(VERSION);
    out.extend_from_slice(&vault.0);
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    out
}

/// u32 length ‖ entry ‖ CRC32C of both.
pub(super) fn frame(entry: &KeyEntry) -> Vec<u8> {
    let entry = entry.encode();
    assert!(entry.len() <= ENTRY_BYTES_MAX, "the fields of an entry are bounded");
    let mut out = Vec::with_capacity(entry.len() + 8);
    crate::seal::put_lp(&mut out, &entry);
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    out
}

pub(super) fn parse(file: &[u8]) -> Result<Parsed, RecordError> {
    let vault = parse_header(file)?;
    let mut parsed =
        Parsed { vault, entries: Vec::new(), sound_bytes: HEADER_BYTES, ending: Ending::Whole };
    while parsed.sound_bytes < file.len() {
        let rest = &file[parsed.sound_bytes..];
        match parse_frame(rest) {
            Some((entry, length)) => {
                parsed.entries.push(entry?);
                parsed.sound_bytes += length;
            }
            None => {
                parsed.ending = ending(rest);
                break;
            }
        }
    }
    Ok(parsed)
}

/// The entry at the front, when its frame is whole and its checksum right, and its framed length.
fn parse_frame(bytes: &[u8]) -> Option<(Result<KeyEntry, RecordError>, usize)> {
    let mut fields = Reader::new(bytes);
    let entry = fields.lp(ENTRY_BYTES_MAX).ok()?;
    let sum = fields.u32().ok()?;
    let sound = !entry.is_empty() && sum == crc32c::crc32c(&bytes[..4 + entry.len()]);
    sound.then(|| (KeyEntry::decode(entry), entry.len() + 8))
}

/// Why no sound entry begins here. An append that was cut short leaves a frame that is not
/// complete, or a last one with unwritten blocks, or only zeros; anything else is damage.
fn ending(rest: &[u8]) -> Ending {
    let zeros = rest.iter().all(|byte| *byte == 0);
    let mut fields = Reader::new(rest);
    let end = fields.u32().ok().and_then(|length| (length as usize).checked_add(8));
    let reaches_the_end = end.is_none_or(|end| end >= rest.len() && end <= ENTRY_BYTES_MAX + 8);
    if zeros || reaches_the_end { Ending::Torn } else { Ending::Damaged }
}

fn parse_header(file: &[u8]) -> Result<VaultId, RecordError> {
    let header = file.get(..HEADER_BYTES).ok_or(RecordError::Length)?;
    let mut fields = Reader::new(header);
    if fields.array()? != MAGIC {
        return Err(RecordError::Form("magic of a key log"));
    }
    let (version, vault) = (fields.u8()?, VaultId(fields.array()?));
    if fields.u32()? != crc32c::crc32c(&header[..HEADER_BYTES - 4]) {
        return Err(RecordError::Checksum);
    }
    if version == VERSION { Ok(vault) } else { Err(RecordError::Unsupported) }
}
