//! Workloads as data: what a client does, step by step.

use bytes::Bytes;
use futures::future::join_all;
use readvault_store::{
    Result,
    vault::{GcOptions, ScrubOptions, SlotChoice},
};

use crate::{
    choice::{Choice, noise},
    home::OpenVault,
    lane::{Client, Witness},
};

/// One thing that a client does.
#[derive(Clone, Debug)]
pub enum Step {
    /// Puts a file. Equal `content` and length are equal bytes.
    Put {
        /// Its name.
        name: String,
        /// Which bytes.
        content: u64,
        /// How many.
        length: usize,
        /// Whose shred slot.
        slot: SlotChoice,
    },
    /// Puts parts and makes one file of them.
    Upload {
        /// Its name.
        name: String,
        /// Content and length of each part.
        parts: Vec<(u64, usize)>,
    },
    /// Copies a file.
    Copy {
        /// From.
        source: String,
        /// To.
        target: String,
    },
    /// Deletes a file.
    Delete(String),
    /// Puts so many small files of so many bytes at once, each as a client of its own.
    Many(usize, usize),
    /// Makes a store, puts one file in it.
    Store(String),
    /// Collects garbage until what is dead now is gone, and compacts every pack with a dead byte.
    Collect,
    /// Settles the packs that were closed.
    Settle,
    /// Erases a file, if it has a shred slot of its own.
    Erase(String),
    /// Makes a new master key, wraps every key under it, retires the older ones.
    Rotate,
    /// Reads every pack and opens every chunk.
    Scrub,
    /// Writes a checkpoint of the catalog.
    Checkpoint,
}

/// A put of `length` bytes under a name.
#[must_use]
pub fn put(name: &str, content: u64, length: usize) -> Step {
    Step::Put { name: name.to_owned(), content, length, slot: SlotChoice::OfStore }
}

/// Does `step` as `client`; gives what became of it, one answer for each client of the step.
pub async fn take(
    step: &Step,
    client: &Client,
    open: &OpenVault,
    witness: &Witness,
) -> Vec<Result<()>> {
    let lane = client.at(open, witness);
    let done = match step {
        Step::Put { name, content, length, slot } => {
            lane.put(name, noise(*content, *length), *slot).await
        }
        Step::Upload { name, parts } => {
            let parts: Vec<Bytes> =
                parts.iter().map(|(content, length)| noise(*content, *length)).collect();
            lane.upload(name, &parts).await
        }
        Step::Copy { source, target } => lane.copy(source, target).await,
        Step::Delete(name) => lane.delete(name).await,
        Step::Many(count, length) => {
            let puts = (0..*count).map(async |number| {
                let name = format!("{}-{number}", client.name);
                let lane = client.beside(name).at(open, witness);
                lane.put("file", noise(number as u64, *length), SlotChoice::OfStore).await
            });
            return join_all(puts).await;
        }
        Step::Store(name) => match Client::new(name, open).await {
            Ok(client) => {
                let lane = client.at(open, witness);
                lane.put("first", noise(1, 300), SlotChoice::OfStore).await
            }
            Err(error) => Err(error),
        },
        Step::Collect => collect(open).await,
        Step::Settle => open.vault.settle_packs().await.map(|_| ()),
        Step::Erase(name) => lane.erase(name).await,
        Step::Rotate => open.rotate().await,
        Step::Scrub => scrub(open).await,
        Step::Checkpoint => open.checkpoint().await,
    };
    vec![done]
}

/// A row is dropped by the second cycle after its last use.
async fn collect(open: &OpenVault) -> Result<()> {
    for _ in 0..3 {
        let options = GcOptions { dead_percent: 1, dry_run: false };
        open.vault.collect_garbage(options).await?;
    }
    Ok(())
}

/// A read that is made to fail is told as damage; what it leaves is judged when the vault is opened again.
async fn scrub(open: &OpenVault) -> Result<()> {
    let options = ScrubOptions { bytes_a_second: None, open_percent: 100, resume: true };
    open.vault.scrub(options, &|_| {}).await.map(drop)
}

/// `count` steps that follow from a seed, over few names and contents, so that they replace, copy and
/// share.
#[must_use]
pub fn random(choice: &Choice, count: usize) -> Vec<Step> {
    let name = || format!("file{}", choice.below(6));
    let length = || match choice.below(6) {
        0 => 0,
        1 | 2 => choice.index(3_000),
        3 | 4 => 66_000 + choice.index(60_000),
        _ if choice.once_in(8) => 1_048_576 + choice.index(30_000),
        _ => 66_000,
    };
    let step = |number: usize| match choice.below(20) {
        0 => Step::Delete(name()),
        1 => Step::Copy { source: name(), target: name() },
        2 => {
            let parts = (0..=choice.below(3)).map(|_| (choice.below(4), choice.index(90_000)));
            Step::Upload { name: name(), parts: parts.collect() }
        }
        3 => Step::Many(2 + choice.index(6), choice.index(2_000)),
        4 => Step::Store(format!("store{number}")),
        5 => Step::Collect,
        6 | 7 => Step::Settle,
        8 | 9 => Step::Erase(name()),
        10 => Step::Rotate,
        11 => Step::Scrub,
        12 => Step::Checkpoint,
        _ => Step::Put {
            name: name(),
            content: choice.below(8),
            length: length(),
            slot: if choice.once_in(5) { SlotChoice::Own } else { SlotChoice::OfStore },
        },
    };
    (0..count).map(step).collect()
}
