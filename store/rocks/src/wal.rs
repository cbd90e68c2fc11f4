//! Looks for acknowledged commits that RocksDB's replay of its log would lose without a word.
//!
//! The replay ends at the first record that does not check. After a power loss that record is the torn, never
//! acknowledged end, and to stop there is right; after damage it may be anywhere, and all behind it would be gone.
//! Every group of commits begins with a sealed row that tells up to which version the log was durable before it, so
//! a readable record behind the damage proves what must be there. What no later record proves (the very last
//! group) is caught by the sequence numbers in the packs.
//!
//! A batch, in one record or in pieces, is `u64 sequence ‖ u32 count ‖` its writes.

use std::{
    fs::File,
    io::{ErrorKind as Io, IoSlice, Read},
    path::{Path, PathBuf},
};

use readvault_store::{
    Error, Result,
    catalog::row::TableSealer,
    disk::{Disk, OpenAs, write_all},
};

use crate::{
    database::SYNCED_KEY,
    fault::unavailable,
    file_cipher::{FileCipher, FileKeys, PREFIX_BYTES},
    records::{BLOCK_BYTES, FIRST, WHOLE, each_block, fill, records},
};

const LOG: &str = "the catalog's log";
/// Extension of a log file as it was before it was cut.
const SET_ASIDE: &str = "log.damaged";
const BATCH_HEADER_BYTES: usize = 12;
/// A put into a named table.
const TAG_TABLE_PUT: u8 = 5;

/// What the log files tell.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Evidence {
    /// Some record does not check, be it the torn end or damage.
    pub(crate) damaged: bool,
    /// The newest version that a readable record calls durable.
    pub(crate) synced: u64,
    /// Log files to cut, and the length of what checks in them.
    cuts: Vec<(PathBuf, u64)>,
}

/// Reads every log file of `directory`, block by block, those set aside included. Changes nothing.
pub(crate) fn examine(directory: &Path, keys: &FileKeys, sealer: &TableSealer) -> Result<Evidence> {
    let mut evidence = Evidence::default();
    for (path, set_aside) in log_files(directory).map_err(unavailable(LOG))? {
        let mut file = File::open(&path).map_err(unavailable(LOG))?;
        let mut prefix = [0; PREFIX_BYTES];
        if fill(&mut file, &mut prefix).map_err(unavailable(LOG))? < PREFIX_BYTES {
            // Made by a crash before its first byte was durable: nothing was acknowledged in it.
            continue;
        }
        if prefix.iter().all(|byte| *byte == 0) {
            // Its length was durable before its bytes: nothing was acknowledged in it. Should it be the
            // damage of a log that was whole, the versions that later logs and the packs name tell.
            evidence.damaged = true;
            if !set_aside {
                evidence.cuts.push((path, 0));
            }
            continue;
        }
        let cipher = keys.open(&prefix).map_err(|_| {
            let name = path.file_name().unwrap_or_default().display();
            Error::corrupt(format!("the front of {name}, a log file of the catalog"))
        })?;
        let bad = examine_file(&mut file, &cipher, sealer, &mut evidence.synced)?;
        evidence.damaged |= bad.is_some() || set_aside;
        if let Some(length) = bad.filter(|_| !set_aside) {
            evidence.cuts.push((path, length));
        }
    }
    Ok(evidence)
}

/// Cuts the damaged log files behind their last record that checks, and keeps the whole ones beside them until
/// [`forget`]. RocksDB must not meet the noise behind: a piece whose type byte happens to be that of a recycled
/// log keeps its reader in a loop for ever.
pub(crate) fn cut(disk: &dyn Disk, directory: &Path, evidence: &Evidence) -> Result<()> {
    let cut = || {
        for (path, _) in &evidence.cuts {
            match disk.link(path, &path.with_extension(SET_ASIDE)) {
                Err(error) if error.kind() != Io::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        // What the whole logs prove may not be lost while the cut ones are already there.
        disk.sync_directory(directory)?;
        evidence.cuts.iter().try_for_each(|(path, length)| cut_file(disk, path, *length))?;
        disk.sync_directory(directory)
    };
    cut().map_err(unavailable(LOG))
}

fn cut_file(disk: &dyn Disk, path: &Path, length: u64) -> std::io::Result<()> {
    let part = path.with_extension("log.part");
    match disk.remove(&part) {
        Err(error) if error.kind() != Io::NotFound => return Err(error),
        _ => {}
    }
    let out = disk.open(&part, OpenAs::New)?;
    let mut whole = File::open(path)?.take(length);
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        let filled = fill(&mut whole, &mut block)?;
        write_all(&*out, &mut [IoSlice::new(&block[..filled])])?;
        if filled < block.len() {
            break;
        }
    }
    out.sync_data()?;
    disk.rename(&part, path)
}

/// Removes what [`cut`] kept, once the catalog is open without it.
pub(crate) fn forget(disk: &dyn Disk, directory: &Path) -> Result<()> {
    for (path, set_aside) in log_files(directory).map_err(unavailable(LOG))? {
        if set_aside {
            disk.remove(&path).map_err(unavailable(LOG))?;
        }
    }
    Ok(())
}

/// Bytes of all log files; of those that can be looked at.
pub(crate) fn log_bytes(directory: &Path) -> u64 {
    let files = log_files(directory).unwrap_or_default();
    files.iter().filter_map(|(path, _)| path.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// The log files, and whether each is one that [`cut`] set aside.
fn log_files(directory: &Path) -> std::io::Result<Vec<(PathBuf, bool)>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let set_aside = path.extension().is_some_and(|extension| extension == "damaged");
        if set_aside || path.extension().is_some_and(|extension| extension == "log") {
            paths.push((path, set_aside));
        }
    }
    Ok(paths)
}

/// The offset in the file of the first record that does not check. Behind one that does not, the next is looked for.
fn examine_file(
    file: &mut File,
    cipher: &FileCipher,
    sealer: &TableSealer,
    synced: &mut u64,
) -> Result<Option<u64>> {
    let mut bad = None;
    each_block(file, cipher, |offset, block| {
        for (at, found) in records(block) {
            match found {
                Some((WHOLE | FIRST, payload)) => {
                    *synced = (*synced).max(synced_version(payload, sealer).unwrap_or(0));
                }
                Some(_) => {}
                None => bad = bad.or(Some(offset + at as u64)),
            }
        }
    })
    .map_err(unavailable(LOG))?;
    Ok(bad)
}

/// The durable version that the first row of a batch names, if it is whole and opens.
fn synced_version(payload: &[u8], sealer: &TableSealer) -> Option<u64> {
    let rest = payload.get(BATCH_HEADER_BYTES..)?;
    let (tag, mut rest) = rest.split_first()?;
    if *tag != TAG_TABLE_PUT {
        return None;
    }
    take_varint(&mut rest)?;
    if take(&mut rest)? != SYNCED_KEY {
        return None;
    }
    let (value, _) = sealer.open(SYNCED_KEY, take(&mut rest)?).ok()?;
    Some(u64::from_le_bytes(value[..].try_into().ok()?))
}

fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_varint(bytes)?;
    let (taken, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(taken)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0;
    for shift in [0, 7, 14, 21, 28] {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u32::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
