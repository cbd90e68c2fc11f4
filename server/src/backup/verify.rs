//! Checking a backup against its list: no key is needed.

use std::path::Path;

use anyhow::Result;

use super::{
    files,
    list::{List, Listed},
};

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Files that are as listed.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Files that are absent, or not as listed, with what is wrong.
    pub wrong: Vec<String>,
}

/// Reads every file of the backup in `directory` and compares it with the list.
///
/// # Errors
/// When there is no list that is understood.
pub fn verify(directory: &Path) -> Result<Verified> {
    let list = List::read(directory)?;
    let mut verified = Verified::default();
    for (name, listed) in &list.files {
        match files::sum(&directory.join(name)).map(Listed::from) {
            Ok(found) if found == *listed => {
                verified.files += 1;
                verified.bytes += listed.length;
            }
            Ok(found) if found.length != listed.length => verified
                .wrong
                .push(format!("{name}: {} bytes, and {} are listed", found.length, listed.length)),
            Ok(_) => verified.wrong.push(format!("{name}: other bytes than listed")),
            Err(cause) => verified.wrong.push(format!("{name}: {cause}")),
        }
    }
    Ok(verified)
}
