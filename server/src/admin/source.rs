//! What opens a keyring, as flags name it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use readvault_store::keys::KeySource;

/// A passphrase or a key file.
#[derive(Clone, Debug, Default, Args)]
pub struct SourceArgs {
    /// File that holds the passphrase of the keyring (first line).
    #[arg(long, env = "READVAULT_PASSPHRASE_FILE", conflicts_with = "key_file")]
    pub passphrase_file: Option<PathBuf>,
    /// File that holds the 32-byte key of the keyring; a systemd credential works too.
    #[arg(long, env = "READVAULT_KEY_FILE")]
    pub key_file: Option<PathBuf>,
}

impl SourceArgs {
    /// The source that is named, if any is. The passphrase is read now, the key file at its use.
    ///
    /// # Errors
    /// When the named file can't be read.
    pub fn source(&self) -> Result<Option<KeySource>> {
        Ok(match (&self.passphrase_file, &self.key_file) {
            (Some(path), _) => {
                let text = std::fs::read_to_string(path).context("the passphrase can't be read")?;
                let line = text.lines().next().unwrap_or_default();
                Some(KeySource::Passphrase(line.to_owned().into()))
            }
            (_, Some(path)) => {
                let path = std::path::absolute(path).context("the key file can't be named")?;
                Some(KeySource::File(path))
            }
            _ => None,
        })
    }
}
