//! The list of a backup.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::{KEYS_NOTE, LIST, files::Sum};

/// Version of the list's shape.
const VERSION: u32 = 1;

/// What a backup holds. Kept as JSON, so that people and other tools can read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// Version of this shape.
    pub version: u32,
    /// The vault, hexadecimal.
    pub vault: String,
    /// A commit that the checkpoint holds.
    pub catalog_version: u64,
    /// Milliseconds since 1970 at which the backup was begun: what was acknowledged before is in it.
    pub begun_ms: u64,
    /// Name of the checkpoint.
    pub checkpoint: String,
    /// Every file, by its path below the destination.
    pub files: BTreeMap<String, Listed>,
}

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Bytes.
    pub length: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// What stands beside the keys of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysNote {
    /// The vault, hexadecimal.
    pub vault: String,
    /// Milliseconds since 1970 at which these copies were made.
    pub copied_ms: u64,
}

impl List {
    /// A list of nothing.
    #[must_use]
    pub fn new(vault: String, begun_ms: u64) -> Self {
        Self {
            version: VERSION,
            vault,
            catalog_version: 0,
            begun_ms,
            checkpoint: String::new(),
            files: BTreeMap::new(),
        }
    }

    /// The list of the backup in `directory`.
    ///
    /// # Errors
    /// When there is none, or it is not understood.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(LIST);
        let bytes = std::fs::read(&path).with_context(|| {
            format!("there is no whole backup: {} can't be read", path.display())
        })?;
        let list: Self = serde_json::from_slice(&bytes).context("the list is malformed")?;
        if list.version != VERSION {
            bail!("the list has version {}, which this program does not know", list.version);
        }
        if list
            .files
            .keys()
            .any(|name| name.starts_with('/') || name.split('/').any(|part| part == ".."))
        {
            bail!("the list names a file outside of the backup");
        }
        Ok(list)
    }

    /// Adds a file.
    pub fn add(&mut self, name: impl Into<String>, sum: Sum) {
        self.files.insert(name.into(), sum.into());
    }
}

impl KeysNote {
    /// The note in `directory`.
    ///
    /// # Errors
    /// When there is none, or it is not understood.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(KEYS_NOTE);
        let bytes = std::fs::read(&path).with_context(|| {
            format!("these are no keys of a backup: {} can't be read", path.display())
        })?;
        serde_json::from_slice(&bytes).context("the note beside the keys is malformed")
    }
}

impl From<Sum> for Listed {
    fn from(sum: Sum) -> Self {
        let hex: String = sum.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { length: sum.length, sha256: hex }
    }
}
