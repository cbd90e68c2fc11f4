//! `readvaultd restore`: a vault from a backup and its keys, into an empty directory.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use super::{
    pieces::{Held, Pieces},
    rebuild::{Base, anew},
    verify,
};
use crate::{
    admin::source::SourceArgs,
    backup::{
        KEY_FILES, KEY_LOG, RECEIPTS,
        copy::{copy_tree, directories},
        files,
        list::{KeysNote, List, Listed},
    },
};

/// Brings a vault back from a backup, into an empty directory.
#[derive(Clone, Debug, Args)]
pub struct RestoreArgs {
    /// The backup: packs, checkpoint and key log.
    #[arg(long)]
    pub from: PathBuf,
    /// The copy of keyring, shred slots and receipts that was kept apart.
    #[arg(long)]
    pub keys_from: PathBuf,
    /// The new data directory.
    #[arg(long, env = "READVAULT_DATA")]
    pub data: PathBuf,
    /// What opens the keyring.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Goes on although the packs show that some of them are missing.
    #[arg(long)]
    pub accept_gaps: bool,
    /// What is read back before the vault counts as restored.
    #[arg(long, value_enum, default_value = "sample")]
    pub verify: Depth,
}

/// How deep a verification goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Depth {
    /// Both ends of every file.
    Sample,
    /// Every byte.
    Full,
    /// Nothing.
    None,
}

/// Restores a vault.
///
/// # Errors
/// When the directory is not empty, backup and keys are not of one vault, a file is not as it is listed,
/// or the catalog can't be rebuilt; each says what to do.
pub fn restore(args: &RestoreArgs) -> Result<()> {
    let (list, keys) = (List::read(&args.from)?, KeysNote::read(&args.keys_from)?);
    if list.vault != keys.vault {
        bail!("the keys are those of another vault: {} and not {}", keys.vault, list.vault);
    }
    empty(&args.data)?;
    let held = Held::take(&args.data)?;
    super::logging("text");
    bring_back(args, &list)?;
    println!("{} files of the backup are as listed", list.files.len());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let pieces = Pieces::open(&args.data, &args.source).await?;
        if pieces.keys.vault().to_string() != list.vault {
            bail!("the key log is that of another vault");
        }
        anew(&held, &pieces, Base::Checkpoint, args.accept_gaps).await?;
        verify::verify(&pieces, args.verify).await
    })?;
    held.give(&args.data)?;
    println!("restored; give the directory to the server's user and start it");
    Ok(())
}

/// Makes the data directory, and refuses one that holds anything.
fn empty(data: &Path) -> Result<()> {
    files::make_directory(data).context("the data directory can't be made")?;
    if fs::read_dir(data).context("the data directory can't be read")?.next().is_some() {
        bail!("{} is not empty: a vault is restored into an empty directory", data.display());
    }
    Ok(())
}

fn bring_back(args: &RestoreArgs, list: &List) -> Result<()> {
    let data = &args.data;
    for directory in directories(list) {
        files::make_directory(&data.join(directory))?;
    }
    for (name, listed) in &list.files {
        let sum = files::copy(&args.from.join(name), &data.join(name), u64::MAX)
            .with_context(|| format!("{name} can't be brought back"))?;
        if Listed::from(sum) != *listed {
            bail!("{name} is not as it is listed: the backup is damaged");
        }
    }
    for directory in directories(list) {
        files::sync_directory(&data.join(directory))?;
    }
    files::copy(&data.join(KEY_LOG), &data.join(format!("{KEY_LOG}.copy")), u64::MAX)?;
    for name in KEY_FILES {
        files::copy(&args.keys_from.join(name), &data.join(name), u64::MAX)
            .with_context(|| format!("{name} can't be brought back"))?;
    }
    let receipts = args.keys_from.join(RECEIPTS);
    if receipts.is_dir() {
        copy_tree(&receipts, &data.join(RECEIPTS)).context("receipts can't be brought back")?;
    }
    files::sync_directory(data).context("the data directory can't be synced")
}
