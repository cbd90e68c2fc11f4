//! Looks for damage of the manifest before RocksDB reads it.
//!
//! RocksDB checks the records itself, but where the type of one turned into that of a recycled log its reader
//! does not return; and a manifest that was cut between two records it takes for a shorter one.

use std::{fs::File, io::Read, path::Path};

use readvault_store::{Error, Result};

use crate::{
    fault::unavailable,
    file_cipher::{FileKeys, PREFIX_BYTES},
    records::{each_block, fill, records},
};

/// The file that names the manifest that is in use: there is a catalog where it is.
pub(crate) const CURRENT: &str = "CURRENT";
const MANIFEST: &str = "the catalog's manifest";
/// Where the prefix of a manifest says how much of it is durable; written by shim/encrypting_env.cc.
const DURABLE_AT: usize = 512;
const DURABLE_MAGIC: u64 = 0x0a01_5259_5344_5652;

/// `Corrupt` when the durable part of the manifest that is in use holds anything but records that check. What
/// `CURRENT` names wrongly is left to RocksDB, which says so.
pub(crate) fn check(directory: &Path, keys: &FileKeys) -> Result<()> {
    let Some(name) = named(directory, keys)? else { return Ok(()) };
    let mut file = match File::open(directory.join(&name)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        file => file.map_err(unavailable(MANIFEST))?,
    };
    let damaged = |what: &str| Error::corrupt(format!("{name}, the catalog's manifest: {what}"));
    let size = file.metadata().map_err(unavailable(MANIFEST))?.len();
    let mut prefix = [0; PREFIX_BYTES];
    if fill(&mut file, &mut prefix).map_err(unavailable(MANIFEST))? < PREFIX_BYTES {
        return Err(damaged("it is cut short"));
    }
    let cipher = keys.open(&prefix).map_err(|_| damaged("its front"))?;
    let held = size - PREFIX_BYTES as u64;
    let length = durable(&prefix).unwrap_or(held);
    if held < length {
        return Err(damaged("it is cut short"));
    }
    let mut bad = None;
    each_block(&mut file.take(length), &cipher, |offset, block| {
        let unread = || records(block).find_map(|(at, found)| found.is_none().then_some(at));
        bad = bad.or_else(|| unread().map(|at| offset + at as u64));
    })
    .map_err(unavailable(MANIFEST))?;
    bad.map_or(Ok(()), |at| Err(damaged(&format!("the record at {at} does not check"))))
}

/// The manifest that `CURRENT` names, if it names any.
fn named(directory: &Path, keys: &FileKeys) -> Result<Option<String>> {
    let current = std::fs::read(directory.join(CURRENT)).map_err(unavailable(MANIFEST))?;
    let Some((prefix, name)) = current.split_at_checked(PREFIX_BYTES) else { return Ok(None) };
    let Ok(cipher) = keys.open(prefix) else { return Ok(None) };
    let mut name = name.to_vec();
    if cipher.apply(PREFIX_BYTES as u64, &mut name).is_err() {
        return Ok(None);
    }
    let name = String::from_utf8(name).unwrap_or_default();
    let number = name.trim_end().strip_prefix("MANIFEST-");
    let sound = number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    Ok(sound.then(|| name.trim_end().to_owned()))
}

/// How much of the file is durable, if its prefix says so soundly: otherwise all of it is.
fn durable(prefix: &[u8; PREFIX_BYTES]) -> Option<u64> {
    let word = |index: usize| {
        let bytes = &prefix[DURABLE_AT + index * 8..][..8];
        u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
    };
    (word(0) == DURABLE_MAGIC && word(1) == !word(2)).then(|| word(1))
}
