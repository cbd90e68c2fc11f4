//! `readvaultd rebuild`: a catalog from its newest checkpoint that opens and the packs, or from the packs
//! alone.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use parking_lot::Mutex;
use readvault_ambient::{Clock, System};
use readvault_ops::{
    core::{Core, Site},
    recover::{self, Recovered},
};
use readvault_store::{
    checkpoints::{self, Checkpoint},
    ids::ManifestId,
    receipts,
    vault::rebuild::{Progress, Rebuild, RebuildParams, Replayed, Survey, replay, survey},
};
use readvault_store_rocks::RocksCatalog;

use super::pieces::{Held, Pieces, all_tables};
use crate::{
    admin::source::SourceArgs,
    backup::{RECEIPTS, files},
};

/// Where the new catalog grows until it is whole.
const GROWING: &str = "catalog.rebuilding";

/// Directory of checkpoints, in the data directory.
pub(super) const CHECKPOINTS: &str = "checkpoints";

/// Time between two lines of progress.
const TELL: Duration = Duration::from_secs(2);

/// Makes a new catalog, while no server runs: from the newest checkpoint that opens, and what the packs
/// tell since. The old one is kept aside.
#[derive(Clone, Debug, Args)]
pub struct RebuildArgs {
    /// The data directory of the vault.
    #[arg(long, env = "READVAULT_DATA")]
    pub data: PathBuf,
    /// What opens the keyring.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Uses no checkpoint: every item comes back as it was created, and settings, tags, jobs and runs do
    /// not. The vault then serves nobody but root until `readvaultd accept-rebuild`.
    #[arg(long)]
    pub from_packs_alone: bool,
    /// Goes on although the packs show that some of them are missing.
    #[arg(long)]
    pub accept_gaps: bool,
}

/// What a rebuild starts from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Base {
    /// The newest checkpoint that opens.
    Checkpoint,
    /// Nothing.
    PacksAlone,
}

/// What a rebuild did.
#[derive(Clone, Copy, Debug)]
struct Report {
    replayed: Replayed,
    recovered: Recovered,
    took: Duration,
}

/// Rebuilds the catalog of a data directory.
///
/// # Errors
/// When a server holds the directory, the keys can't be opened, packs are missing and that was not
/// accepted, or no checkpoint opens; each says what to do.
pub fn rebuild(args: &RebuildArgs) -> Result<()> {
    let held = Held::take(&args.data)?;
    super::logging("text");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let pieces = Pieces::open(&args.data, &args.source).await?;
        let base = if args.from_packs_alone { Base::PacksAlone } else { Base::Checkpoint };
        anew(&held, &pieces, base, args.accept_gaps).await
    })
}

/// Puts a rebuilt catalog in the place of the present one, which is kept aside.
pub(super) async fn anew(held: &Held, pieces: &Pieces, base: Base, gaps: bool) -> Result<()> {
    let told = teller("reading indexes");
    let surveyed = survey(&pieces.chunks, &told).await.context("the packs can't be read")?;
    say_survey(&surveyed, gaps)?;
    let erased = erase_again(pieces).await?;
    let growing = pieces.data.join(GROWING);
    let known = (&surveyed, &erased[..]);
    let report = match base {
        Base::PacksAlone => grow(pieces, None, known).await?,
        Base::Checkpoint => from_checkpoints(pieces, known).await?,
    };
    held.give(&growing)?;
    put_in_place(&pieces.data, &growing, &pieces.catalog())?;
    say_report(&report);
    if base == Base::PacksAlone {
        println!("the vault serves nobody but root until `readvaultd accept-rebuild`");
    }
    Ok(())
}

/// What the packs say, and the manifests of all that was erased.
type Known<'a> = (&'a Survey, &'a [ManifestId]);

/// Destroys the slots of all that the receipts call erased, or about to be: a copy of the slots may be older
/// than they are. Gives the manifests that ended so.
async fn erase_again(pieces: &Pieces) -> Result<Vec<ManifestId>> {
    let directory = pieces.data.join(RECEIPTS);
    let entries = receipts::read(&directory, pieces.keys.vault(), pieces.keys.vault_key());
    let mut erased = Vec::new();
    for entry in entries.context("the receipts of erasures can't be read")? {
        let slot = entry.receipt.slot;
        pieces.keys.erase_slot(slot).await.context("an erasure can't be done again")?;
        erased.extend(entry.receipt.manifests);
    }
    Ok(erased)
}

async fn from_checkpoints(pieces: &Pieces, known: Known<'_>) -> Result<Report> {
    for checkpoint in checkpoints::list(&pieces.data.join(CHECKPOINTS))? {
        let name = checkpoint.path.display();
        match grow(pieces, Some(&checkpoint), known).await {
            Ok(report) => {
                println!("rebuilt from the checkpoint {name}");
                return Ok(report);
            }
            Err(cause) => eprintln!("the checkpoint {name} is passed over: {cause:#}"),
        }
    }
    bail!(
        "no checkpoint opens: bring one back from a backup, or rebuild with --from-packs-alone, which \
         loses settings, tags, jobs and runs"
    )
}

/// Grows a catalog beside the present one.
async fn grow(
    pieces: &Pieces,
    base: Option<&Checkpoint>,
    (surveyed, erased): Known<'_>,
) -> Result<Report> {
    let began = System.monotonic();
    let growing = pieces.data.join(GROWING);
    if growing.exists() {
        std::fs::remove_dir_all(&growing).context("an unfinished rebuild can't be removed")?;
    }
    if let Some(base) = base {
        if base.path.join(readvault_store_postgres::CHECKPOINT_FILE).exists() {
            bail!("it is of a catalog in a database");
        }
        files::copy_flat(&base.path, &growing).context("the checkpoint can't be copied")?;
    }
    let entropy = Arc::new(System);
    let keys = (pieces.sealer(), entropy.clone() as Arc<dyn readvault_ambient::Entropy>);
    let catalog =
        RocksCatalog::open_above(&growing, &all_tables(), keys, surveyed.acknowledged + 1)?;
    let params = RebuildParams {
        catalog: Arc::new(catalog),
        chunks: pieces.chunks.clone(),
        keys: pieces.keys.clone(),
    };
    let replayed = replay(&params, surveyed, &teller("replaying")).await?;
    let rebuild = Rebuild::new(&params, entropy.clone(), Arc::new(System)).await?;
    rebuild.leave_out(erased).await?;
    // Names of this site stand in no row that a recovery writes.
    let site = Site { account: String::new(), region: String::new() };
    let core = Core::new(rebuild.vault().clone(), site, Arc::new(System), entropy);
    let recovered = recover::recover(&rebuild, &core).await?;
    if base.is_none() {
        recover::demand_acceptance(&core).await?;
    }
    let took = System.monotonic().saturating_sub(began);
    Ok(Report { replayed, recovered, took })
}

/// Moves the present catalog aside and the new one to its place.
fn put_in_place(data: &Path, growing: &Path, catalog: &Path) -> Result<()> {
    if catalog.exists() {
        let aside = data.join(format!("catalog.broken-{}", System.unix_ms() / 1000));
        std::fs::rename(catalog, &aside).context("the old catalog can't be moved aside")?;
        println!("the old catalog is kept in {}", aside.display());
    }
    std::fs::rename(growing, catalog).context("the new catalog can't be moved to its place")?;
    files::sync_directory(data).context("the data directory can't be synced")
}

fn say_survey(surveyed: &Survey, gaps: bool) -> Result<()> {
    let Survey { packs, gaps: found, damaged, .. } = surveyed;
    println!("{} packs, {damaged} damaged stretches, {} gaps", packs.len(), found.len());
    for gap in found {
        eprintln!(
            "missing: batches {} to {} of writer {}",
            gap.after + 1,
            gap.before.saturating_sub(1),
            gap.writer
        );
    }
    if !found.is_empty() && !gaps {
        bail!(
            "packs are missing: bring them back from a backup; or rebuild without what they held, by \
             --accept-gaps"
        );
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a rate is shown to a few digits")]
fn say_report(report: &Report) {
    let Report { replayed, recovered, took } = report;
    let Progress { chunks, manifests, .. } = replayed.met;
    println!(
        "{chunks} chunks and {manifests} manifests met, {} unreadable, {} rows of packs that are gone",
        replayed.unreadable, replayed.dangling
    );
    println!(
        "{} objects and {} other rows written, {} ended, {} files named by nothing, {} erased, {} \
         unreadable",
        recovered.objects,
        recovered.others,
        recovered.ended,
        recovered.left_out,
        recovered.erased,
        recovered.unreadable
    );
    let seconds = took.as_secs_f64().max(0.001);
    println!("took {seconds:.1} s: {:.0} chunks/s", chunks as f64 / seconds);
}

/// Tells progress on standard error, now and then.
fn teller(doing: &'static str) -> impl Fn(Progress) + Send + Sync {
    let told = Mutex::new(System.monotonic());
    move |progress: Progress| {
        let now = System.monotonic();
        let mut told = told.lock();
        if now.saturating_sub(*told) < TELL {
            return;
        }
        *told = now;
        let Progress { packs, packs_all, chunks, manifests } = progress;
        eprintln!("{doing}: pack {packs} of {packs_all}, {chunks} chunks, {manifests} manifests");
    }
}
