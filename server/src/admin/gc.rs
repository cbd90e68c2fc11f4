//! `readvaultd gc`: collects garbage now.

use async_trait::async_trait;
use clap::Args;
use readvault_ops::fault::Result;
use readvault_store::vault::{Cycle, GcOptions};
use serde::{Deserialize, Serialize};

use super::{Answer, Call, Command, Desk, Progress};
use crate::upkeep;

/// Drops what nothing refers to, and gives packs with enough dead bytes back. What was uploaded or deleted
/// just now goes with the second cycle from now.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub struct Gc {
    /// Counts, and changes nothing.
    #[arg(long)]
    dry_run: bool,
    /// Percent of a pack that must be dead before what lives in it is moved and the pack removed.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u8).range(1..=100))]
    dead_percent: u8,
}

#[async_trait]
impl Command for Gc {
    fn action(&self) -> &'static str {
        "readvault:CollectGarbage"
    }

    async fn run(&self, desk: &Desk, call: &Call) -> Result<Answer> {
        call.progress(Progress::new("marking and sweeping", 0, None));
        let options = GcOptions { dead_percent: self.dead_percent, dry_run: self.dry_run };
        let cycle = desk.core.vault().collect_garbage(options).await?;
        if !self.dry_run {
            upkeep::note_cycle(&desk.core, &cycle).await;
        }
        Ok(Answer::new(text(&cycle, self.dry_run), &cycle))
    }
}

fn text(cycle: &Cycle, dry_run: bool) -> String {
    let mut text = upkeep::words_of_cycle(cycle);
    if dry_run {
        text = format!("would do, as things stand: {text}");
    }
    if !cycle.skipped.is_empty() {
        let stores = cycle.skipped.len();
        text += &format!(
            "\nleft alone: {stores} stores with files that can't be opened (disabled keys?)"
        );
    }
    if cycle.packs_missing > 0 {
        let packs = cycle.packs_missing;
        text += &format!(
            "\nmissing: {packs} packs that hold parts of files; the log names them. Bring them back from a backup"
        );
    }
    text
}
