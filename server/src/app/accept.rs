//! `readvaultd accept-rebuild`: lets a vault that was rebuilt without a catalog serve others than root.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
use clap::Args;
use readvault_ambient::System;
use readvault_ops::{
    core::{Core, Site},
    recover,
};
use readvault_store::vault::rebuild::{Rebuild, RebuildParams};
use readvault_store_rocks::RocksCatalog;

use super::pieces::{Held, Pieces, all_tables};
use crate::admin::source::SourceArgs;

/// Accepts a rebuild without a catalog, while no server runs.
#[derive(Clone, Debug, Args)]
pub struct AcceptArgs {
    /// The data directory of the vault.
    #[arg(long, env = "READVAULT_DATA")]
    pub data: PathBuf,
    /// What opens the keyring.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Lets the vault serve others than root again.
///
/// # Errors
/// When a server holds the directory, or keys or catalog can't be opened.
pub fn accept(args: &AcceptArgs) -> Result<()> {
    let held = Held::take(&args.data)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let pieces = Pieces::open(&args.data, &args.source).await?;
        let entropy = Arc::new(System);
        let catalog =
            RocksCatalog::open(&pieces.catalog(), &all_tables(), pieces.sealer(), entropy.clone())
                .context("the catalog can't be opened")?;
        let (chunks, keys) = (pieces.chunks.clone(), pieces.keys.clone());
        let params = RebuildParams { catalog: Arc::new(catalog), chunks, keys };
        let rebuild = Rebuild::new(&params, entropy.clone(), Arc::new(System)).await?;
        let site = Site { account: String::new(), region: String::new() };
        let core = Core::new(rebuild.vault().clone(), site, Arc::new(System), entropy);
        match recover::unaccepted(&core).await? {
            Some(_) => {
                recover::accept(&core).await?;
                println!("accepted: the next start serves everybody");
            }
            None => println!("nothing to accept: this vault was not rebuilt without a catalog"),
        }
        anyhow::Ok(())
    })?;
    held.give(&args.data)
}
