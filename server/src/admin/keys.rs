//! `readvaultd keys …`: which master key wraps what, rotation, retirement, and another source.

use std::{collections::BTreeMap, fmt::Write, path::PathBuf, sync::Arc};

use anyhow::Context as _;
use async_trait::async_trait;
use clap::{Args, Subcommand};
use readvault_ambient::System;
use readvault_ops::{Fault, FaultKind, fault::Result};
use readvault_store::keys::{KeyUsage, Keyring, PassphraseCost};
use serde::{Deserialize, Serialize};

use super::{Alone, Answer, Call, Command, Desk, Progress, client, source::SourceArgs};

/// What to do with keys.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Keys {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum What {
    /// Says which master keys there are and how many keys each of them wraps.
    Status,
    /// Adds a master key and wraps every key of the vault again under it. Moves no data.
    Rotate(Rotate),
    /// Drops a master key that wraps nothing any more.
    Retire(Retire),
    /// Seals the keyring by another passphrase or key file; the server must be stopped.
    Reseal(Reseal),
}

#[derive(Clone, Debug, Args, Serialize, Deserialize)]
struct Rotate {
    /// Says what would be done, and does nothing.
    #[arg(long)]
    dry_run: bool,
    /// Finishes a rotation that was cut short, and adds no master key.
    #[arg(long)]
    resume: bool,
}

#[derive(Clone, Debug, Args, Serialize, Deserialize)]
struct Retire {
    /// Which: `v1`.
    version: String,
    /// The same again, as it can't be undone.
    #[arg(long)]
    confirm: Option<String>,
}

#[derive(Clone, Debug, Args, Serialize, Deserialize)]
struct Reseal {
    #[command(flatten)]
    #[serde(skip)]
    from: SourceArgs,
    /// File that holds the new passphrase (first line).
    #[arg(long, required_unless_present = "to_key_file", conflicts_with = "to_key_file")]
    to_passphrase_file: Option<PathBuf>,
    /// File that holds the new 32-byte key.
    #[arg(long)]
    to_key_file: Option<PathBuf>,
}

/// Which master keys there are.
#[derive(Serialize)]
struct Standing {
    newest: String,
    master_keys: BTreeMap<String, Wraps>,
    /// Keys that wait for a rotation to be finished.
    stale: u64,
}

#[derive(Clone, Copy, Serialize)]
struct Wraps {
    vault_keys: u64,
    store_keys: u64,
}

#[async_trait]
impl Command for Keys {
    fn action(&self) -> &'static str {
        match self.what {
            What::Status => "readvault:KeysStatus",
            What::Rotate(_) => "readvault:KeysRotate",
            What::Retire(_) => "readvault:KeysRetire",
            What::Reseal(_) => "readvault:KeysReseal",
        }
    }

    async fn run(&self, desk: &Desk, call: &Call) -> Result<Answer> {
        match &self.what {
            What::Status => Ok(status(desk)),
            What::Rotate(rotate) => rotate.run(desk, call).await,
            What::Retire(retire) => retire.run(desk).await,
            What::Reseal(_) => {
                Err(Fault::new(FaultKind::InvalidState, "a keyring is resealed without a server"))
            }
        }
    }

    fn alone(&self) -> Option<&dyn Alone> {
        match &self.what {
            What::Reseal(reseal) => Some(reseal),
            _ => None,
        }
    }
}

fn status(desk: &Desk) -> Answer {
    let keys = desk.core.vault().keys();
    let usage = keys.wraps();
    let names = desk.master_keys.names();
    let wraps = |name: &String| {
        let KeyUsage { of_vault, of_stores } = usage.get(name).copied().unwrap_or_default();
        (name.clone(), Wraps { vault_keys: of_vault, store_keys: of_stores })
    };
    let standing = Standing {
        newest: keys.newest_master_key(),
        master_keys: names.iter().chain(usage.keys()).map(wraps).collect(),
        stale: keys.stale(),
    };
    let mut text = String::new();
    for (name, Wraps { vault_keys, store_keys }) in &standing.master_keys {
        let note = match (vault_keys + store_keys, *name == standing.newest) {
            (_, true) => ", and all new ones",
            (0, false) => "; it can be retired",
            _ => "",
        };
        let _ = writeln!(text, "{name} wraps {vault_keys} vault and {store_keys} store keys{note}");
    }
    if standing.stale > 0 {
        let _ = writeln!(
            text,
            "a rotation is not finished: {} keys wait; finish it with `keys rotate --resume`",
            standing.stale
        );
    }
    Answer::new(text, &standing)
}

impl Rotate {
    async fn run(&self, desk: &Desk, call: &Call) -> Result<Answer> {
        let keys = desk.core.vault().keys();
        if self.dry_run {
            return Ok(self.plan(desk));
        }
        if !self.resume {
            let master_keys = desk.master_keys.clone();
            let added = tokio::task::spawn_blocking(move || master_keys.add()).await;
            added.map_err(|cause| Fault::internal("a key could not be added").because(cause))??;
        }
        let told = |done, of| call.progress(Progress::new("wrapping keys again", done, of));
        let count = keys.rewrap(&told).await?;
        let newest = keys.newest_master_key();
        let mut text =
            format!("{newest} wraps all keys now; {count} were wrapped again, no data was\n");
        if !self.resume {
            text.push_str(
                "back up the file `keyring` now: without it no later copy of keys.log opens\n\
                 older master keys still open older copies; `keys retire` drops one\n",
            );
        }
        let value = serde_json::json!({ "newest": newest, "rewrapped": count });
        Ok(Answer::new(text, &value))
    }

    fn plan(&self, desk: &Desk) -> Answer {
        let keys = desk.core.vault().keys();
        let all: u64 = keys.wraps().values().map(|usage| usage.of_vault + usage.of_stores).sum();
        let (count, adds) = if self.resume { (keys.stale(), 0) } else { (all, 1) };
        let text = format!(
            "would add {adds} master key to the keyring and wrap {count} keys again; no data moves"
        );
        Answer::new(text, &serde_json::json!({ "would_add": adds, "would_rewrap": count }))
    }
}

impl Retire {
    async fn run(&self, desk: &Desk) -> Result<Answer> {
        let name = match self.version.strip_prefix('v') {
            Some(number) => format!("keyring/v{number}"),
            None => self.version.clone(),
        };
        if self.confirm.as_deref() != Some(self.version.as_str()) {
            let version = &self.version;
            return Err(Fault::invalid(format!(
                "this can't be undone: copies of keys.log from before the last rotation will not open \
                 with this keyring any more; say so with --confirm {version}"
            )));
        }
        let keys = desk.core.vault().keys();
        if name == keys.newest_master_key() {
            return Err(Fault::new(
                FaultKind::PreconditionFailed,
                format!("{name} wraps new keys: rotate first"),
            ));
        }
        if let Some(usage) = keys.wraps().get(&name) {
            return Err(Fault::new(
                FaultKind::PreconditionFailed,
                format!(
                    "{name} still wraps {} keys: finish the rotation with `keys rotate --resume`",
                    usage.of_vault + usage.of_stores
                ),
            ));
        }
        keys.retire(&*desk.master_keys, &name).await?;
        let text = format!(
            "{name} is gone from the keyring; back the file `keyring` up again\n\
             this revokes nobody: whoever holds an old copy of the keyring, its source and an old \
             copy of keys.log still opens what he copied"
        );
        Ok(Answer::new(text, &serde_json::json!({ "retired": name })))
    }
}

impl Alone for Reseal {
    fn run(&self, data: Option<&std::path::Path>) -> anyhow::Result<Answer> {
        let data = data.context("name the vault: --data DIR, or READVAULT_DATA")?;
        if client::is_live(data) {
            anyhow::bail!("a server runs for this vault and holds its keyring: stop it first");
        }
        let from = self
            .from
            .source()?
            .context("name what opens the keyring now: --passphrase-file or --key-file")?;
        let to = SourceArgs {
            passphrase_file: self.to_passphrase_file.clone(),
            key_file: self.to_key_file.clone(),
        };
        let to = to.source()?.context("name the new source")?;
        let path = data.join("keyring");
        let mut keyring = Keyring::open(&path, &from, Arc::new(System))
            .context("the keyring can't be opened: wrong passphrase or key?")?;
        keyring.reseal(&to, PassphraseCost::default()).context("the keyring can't be written")?;
        Keyring::open(&path, &to, Arc::new(System)).context("the new keyring does not open")?;
        let text = "the keyring opens by the new source only; start the server with it\n\
                    copies of the file made before still open by the old one: replace them";
        Ok(Answer::new(text, &serde_json::json!({ "resealed": true })))
    }
}
