//! `readvaultd backup`: a backup of a vault that is in use, and its check.

use std::{
    io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use async_trait::async_trait;
use clap::{Args, Subcommand};
use readvault_ops::{Fault, fault::Result, upkeep};
use serde::{Deserialize, Serialize};

use super::{Alone, Answer, Call, Command, Desk, Progress};
use crate::backup::{
    copy::{Content, Copied, Places, backup},
    verify::verify,
};

/// Copies a vault that is in use, so that it can be restored elsewhere.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Backup {
    #[command(subcommand)]
    #[serde(skip)]
    what: Option<What>,
    /// Where packs, checkpoint and key log go; packs that are there are not copied again. The server's user
    /// must be able to write here.
    #[arg(long, value_parser = absolute, required = true)]
    to: Option<PathBuf>,
    /// Where keyring, shred slots and receipts go: apart from the rest. The server's user must be able to
    /// write here.
    #[arg(long, value_parser = absolute, required = true)]
    keys_to: Option<PathBuf>,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Checks a backup against its list. Needs no server and no key.
    Verify(Verify),
}

#[derive(Clone, Debug, Args)]
struct Verify {
    /// The backup.
    #[arg(long)]
    from: PathBuf,
}

#[derive(Serialize)]
struct Made {
    files: u64,
    bytes: u64,
    skipped: u64,
    removed: u64,
    catalog_version: u64,
    begun_ms: u64,
}

#[async_trait]
impl Command for Backup {
    fn action(&self) -> &'static str {
        "readvault:Backup"
    }

    async fn run(&self, desk: &Desk, call: &Call) -> Result<Answer> {
        let (Some(to), Some(keys_to)) = (self.to.clone(), self.keys_to.clone()) else {
            return Err(Fault::invalid("a backup needs --to and --keys-to"));
        };
        let places = Places { data: desk.data.clone(), to, keys_to };
        make(desk, call, places).await
    }

    fn alone(&self) -> Option<&dyn Alone> {
        self.what.as_ref().map(|What::Verify(verify)| verify as &dyn Alone)
    }
}

impl Alone for Verify {
    fn run(&self, _data: Option<&Path>) -> anyhow::Result<Answer> {
        let verified = verify(&self.from)?;
        if let Some(first) = verified.wrong.first() {
            verified.wrong.iter().for_each(|wrong| eprintln!("{wrong}"));
            anyhow::bail!("{} files are not as listed, the first: {first}", verified.wrong.len());
        }
        let text = format!("{} files, {} bytes: all as listed", verified.files, verified.bytes);
        let value = serde_json::json!({ "files": verified.files, "bytes": verified.bytes });
        Ok(Answer::new(text, &value))
    }
}

async fn make(desk: &Desk, call: &Call, places: Places) -> Result<Answer> {
    let core = &desk.core;
    let (vault, begun_ms) = (core.vault().clone(), core.now_ms());
    call.progress(Progress::new("writing a checkpoint", 0, None));
    // No pack goes while it is copied; the checkpoint comes first, so the packs hold all that it names.
    let pins = vault.hold_packs().await;
    let checkpoint = desk.checkpoints.write().await?;
    let packs = vault.packs().await?;
    let version = checkpoint.version;
    let id = vault.keys().vault().to_string();
    let content = Content { vault: id, begun_ms, checkpoint, packs };
    let progress = call.progress_sender();
    let copying = tokio::task::spawn_blocking(move || {
        let _pins = pins;
        let told = |done: u64, of: u64| {
            let _ = progress.try_send(Progress::new("copying packs", done, of));
        };
        backup(&places, &content, &told)
    });
    let copied = copying
        .await
        .map_err(|cause| Fault::internal("the backup was cut short").because(cause))?
        .map_err(|cause| Fault::invalid(refusal(&cause)))?;
    let Copied { files, bytes, skipped, removed } = copied;
    let text = format!(
        "{files} files ({bytes} bytes) copied, {skipped} packs were there; holds commit {version}"
    );
    upkeep::note(core, "backup", text.clone()).await?;
    let made = Made { files, bytes, skipped, removed, catalog_version: version, begun_ms };
    Ok(Answer::new(text, &made))
}

/// Why there is no backup, and what to do where the place belongs to somebody else.
fn refusal(cause: &anyhow::Error) -> String {
    let denied = cause
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::PermissionDenied);
    let hint = if denied {
        "; the server writes backups itself: make both places writable for its user, who owns the data directory"
    } else {
        ""
    };
    format!("no backup was made: {cause:#}{hint}")
}

/// A path that means the same in the server's process.
fn absolute(text: &str) -> anyhow::Result<PathBuf> {
    std::path::absolute(text).context("the path can't be made absolute")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_of_somebody_else_is_told_with_what_to_do() {
        let told =
            |kind| refusal(&anyhow::Error::from(io::Error::from(kind)).context("B can't be made"));
        let denied = told(io::ErrorKind::PermissionDenied);
        assert!(
            denied.contains("B can't be made: permission denied; the server writes"),
            "{denied}"
        );
        assert_eq!(
            told(io::ErrorKind::StorageFull),
            "no backup was made: B can't be made: no storage space"
        );
    }
}
