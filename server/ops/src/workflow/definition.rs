//! Checks a definition zip before anything of it is kept (docs/threat-model.md).
//!
//! The bytes stay as they came; whoever unpacks them later does so in the run's sandbox. What is
//! refused here: names that leave the directory, that clash, links and devices, bombs, entries that
//! overlap or whose local header tells another name than the central directory.

use std::{
    collections::HashSet,
    io::{Cursor, Read},
};

use bytes::Bytes;
use zip::{CompressionMethod, ZipArchive, read::ZipFile};

/// Most bytes of a zip.
pub const ZIP_BYTES_MAX: usize = 100 << 20;

/// Most entries of a zip.
pub const ENTRIES_MAX: usize = 10_000;

/// Most bytes of all entries, unpacked.
pub const PLAIN_BYTES_MAX: u64 = 1 << 30;

/// Most unpacked bytes for each packed one, counted over the whole zip beyond [`RATIO_FREE_BYTES`].
pub const RATIO_MAX: u64 = 100;

/// Unpacked bytes that are never held to be a bomb: a small text may repeat itself.
pub const RATIO_FREE_BYTES: u64 = 1 << 20;

/// Most directories above a file.
pub const DEPTH_MAX: usize = 32;

/// Most bytes of one source file that is read into memory.
const SOURCE_BYTES_MAX: u64 = 8 << 20;

/// Extensions of files whose text is kept for the scan.
const SOURCES: [&str; 3] = [".wdl", ".cwl", ".nf"];

/// Why a zip is refused: says what and where, never the content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the definition zip {0}")]
pub struct ZipRefusal(pub String);

/// What a checked zip holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definition {
    /// Paths of its files.
    pub files: Vec<String>,
    /// Workflow sources, in the order of `files`: path and text.
    pub sources: Vec<(String, String)>,
}

/// Checks `zip` by unpacking all of it to nowhere. Takes CPU time: call it off the async threads.
///
/// # Errors
/// [`ZipRefusal`] with the first entry that is not acceptable.
pub fn check(zip: &Bytes) -> Result<Definition, ZipRefusal> {
    if zip.len() > ZIP_BYTES_MAX {
        return refuse("is above 100 MiB");
    }
    let mut archive = ZipArchive::new(Cursor::new(zip.clone()))
        .map_err(|_| ZipRefusal("can't be read as a zip file".into()))?;
    if archive.is_empty() {
        return refuse("is empty");
    }
    if archive.len() > ENTRIES_MAX {
        return refuse("has more than 10,000 entries");
    }
    // The reader keeps one of several entries of the same name; others may keep another one.
    if counted(zip) != Some(archive.len()) {
        return refuse("has two entries of one name, or a directory that miscounts them");
    }
    let mut definition = Definition::default();
    let mut seen = HashSet::new();
    let mut extents = Vec::with_capacity(archive.len());
    let mut plain = 0_u64;
    let budget = PLAIN_BYTES_MAX.min(RATIO_FREE_BYTES.max(RATIO_MAX * zip.len() as u64));
    for index in 0..archive.len() {
        let mut entry = archive
            .by_index(index)
            .map_err(|_| ZipRefusal(format!("has an entry (number {index}) that can't be read")))?;
        let path = checked_name(&entry, zip)?;
        if !seen.insert(path.trim_end_matches('/').to_lowercase()) {
            return refuse(format!("has two entries named {path:?} but for case"));
        }
        let start = entry.header_start();
        extents.push((start, entry.data_start() + entry.compressed_size()));
        let text = unpack(&mut entry, &path, budget, &mut plain)?;
        if !path.ends_with('/') {
            if let Some(text) = text {
                definition.sources.push((path.clone(), text));
            }
            definition.files.push(path);
        }
    }
    extents.sort_unstable();
    if extents.windows(2).any(|pair| pair[0].1 > pair[1].0) {
        return refuse("has entries that overlap");
    }
    check_parents(&definition.files)?;
    Ok(definition)
}

/// Entries, as the end of the central directory counts them (APPNOTE.TXT §4.3.16).
fn counted(zip: &Bytes) -> Option<usize> {
    const END_BYTES: usize = 22;
    let last = zip.len().checked_sub(END_BYTES)?;
    let first = last.saturating_sub(usize::from(u16::MAX));
    let at = (first..=last).rev().find(|at| zip[*at..].starts_with(b"PK\x05\x06"))?;
    Some(usize::from(u16::from_le_bytes([zip[at + 10], zip[at + 11]])))
}

fn refuse<T>(reason: impl Into<String>) -> Result<T, ZipRefusal> {
    Err(ZipRefusal(reason.into()))
}

/// The name of `entry`, once it and the entry's kind are harmless.
fn checked_name(entry: &ZipFile<'_, Cursor<Bytes>>, zip: &Bytes) -> Result<String, ZipRefusal> {
    let Ok(name) = std::str::from_utf8(entry.name_raw()) else {
        return refuse("has an entry whose name is not UTF-8");
    };
    let shown: String = name.chars().take(200).collect();
    if entry.encrypted() {
        return refuse(format!("has an encrypted entry: {shown:?}"));
    }
    if !matches!(entry.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
        return refuse(format!("packs {shown:?} by a method other than deflate"));
    }
    if let Some(mode) = entry.unix_mode()
        && !matches!(mode & 0o170_000, 0 | 0o040_000 | 0o100_000)
    {
        return refuse(format!("has an entry that is a link or device: {shown:?}"));
    }
    let plain = name.strip_suffix('/').unwrap_or(name);
    let drive = plain.as_bytes().get(1) == Some(&b':');
    let illegal = plain.is_empty()
        || drive
        || plain.starts_with('/')
        || plain.contains('\\')
        || plain.chars().any(char::is_control)
        || plain.split('/').any(|part| matches!(part, "" | "." | ".."));
    if illegal {
        return refuse(format!("has an entry with an illegal name: {shown:?}"));
    }
    if plain.len() > 1024 || plain.split('/').count() > DEPTH_MAX {
        return refuse(format!("has an entry that lies too deep: {shown:?}"));
    }
    if local_name(zip, entry.header_start()) != Some(entry.name_raw()) {
        return refuse(format!("tells two names of one entry: {shown:?}"));
    }
    Ok(name.to_owned())
}

/// The name in the local header at `start` (APPNOTE.TXT §4.3.7).
fn local_name(zip: &Bytes, start: u64) -> Option<&[u8]> {
    let header = zip.get(usize::try_from(start).ok()?..)?;
    if header.get(..4)? != b"PK\x03\x04" {
        return None;
    }
    let length = u16::from_le_bytes([*header.get(26)?, *header.get(27)?]);
    header.get(30..30 + usize::from(length))
}

/// Unpacks `entry`, counting into `plain`; the text of a workflow source is given back.
fn unpack(
    entry: &mut ZipFile<'_, Cursor<Bytes>>,
    path: &str,
    budget: u64,
    plain: &mut u64,
) -> Result<Option<String>, ZipRefusal> {
    let declared = entry.size();
    let keep = SOURCES.iter().any(|end| path.ends_with(end)) && declared <= SOURCE_BYTES_MAX;
    let mut kept = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let mut length = 0_u64;
    loop {
        let count =
            entry.read(&mut buffer).map_err(|_| ZipRefusal(format!("is damaged at {path:?}")))?;
        if count == 0 {
            break;
        }
        length += count as u64;
        *plain += count as u64;
        if *plain > budget || length > declared {
            return refuse(format!("unpacks to more than is allowed, at {path:?}"));
        }
        if keep {
            kept.extend_from_slice(&buffer[..count]);
        }
    }
    if length != declared {
        return refuse(format!("declares another length than it has, at {path:?}"));
    }
    Ok(if keep { String::from_utf8(kept).ok() } else { None })
}

/// A file that is also the directory of another one can't be unpacked.
fn check_parents(files: &[String]) -> Result<(), ZipRefusal> {
    let names: HashSet<&str> = files.iter().map(String::as_str).collect();
    for file in files {
        let mut path = file.as_str();
        while let Some((parent, _)) = path.rsplit_once('/') {
            if names.contains(parent) {
                return refuse(format!("has {parent:?} both as a file and as a directory"));
            }
            path = parent;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
