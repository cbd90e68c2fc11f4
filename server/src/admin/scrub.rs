//! `readvaultd scrub`: reads everything that is stored now.

use async_trait::async_trait;
use clap::Args;
use readvault_ops::fault::Result;
use readvault_store::vault::{Scrub as Found, ScrubOptions};
use serde::{Deserialize, Serialize};

use super::{Answer, Call, Command, Desk, Progress};
use crate::upkeep;

/// Checks every stored byte against its checksums, opens a sample with its keys, and mends or quarantines what
/// is damaged.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub struct Scrub {
    /// MiB a second that are read at most; as fast as it goes when not given.
    #[arg(long)]
    mib_a_second: Option<u64>,
    /// Percent of files of which every chunk is opened with its key.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=100))]
    open_percent: u8,
    /// Begins with the first pack, also when an earlier scrub was interrupted.
    #[arg(long)]
    anew: bool,
}

#[async_trait]
impl Command for Scrub {
    fn action(&self) -> &'static str {
        "readvault:Scrub"
    }

    async fn run(&self, desk: &Desk, call: &Call) -> Result<Answer> {
        let vault = desk.core.vault();
        let packs = vault.pack_count().await?;
        let options = ScrubOptions {
            bytes_a_second: self.mib_a_second.map(|rate| rate << 20),
            open_percent: self.open_percent,
            resume: !self.anew,
        };
        let told =
            |scrub: &Found| call.progress(Progress::new("reading packs", scrub.packs, packs));
        let scrub = vault.scrub(options, &told).await?;
        upkeep::note_scrub(&desk.core, &scrub).await;
        Ok(Answer::new(text(&scrub), &scrub))
    }
}

fn text(scrub: &Found) -> String {
    let mut text = String::new();
    for place in &scrub.places {
        text += &format!("damaged: {:?} in pack {} at {}\n", place.what, place.pack, place.offset);
    }
    text + &upkeep::words_of_scrub(scrub)
}
