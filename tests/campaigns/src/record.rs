//! A workload whose every operation on files is recorded.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    crash::{Crash, materialise},
    history::History,
    home::Home,
    journal::Journal,
    lane::{Client, Witness},
    parallel::runtime,
    place,
    steps::{Step, take},
    verify::told,
};

/// Bytes at which a pack of a recorded vault is closed.
pub const PACK_BYTES_MAX: u64 = 300 << 10;

/// A workload that was recorded: what it did to files, and what it was told.
#[derive(Debug)]
pub struct Recorded {
    /// The changes of files.
    pub history: History,
    /// What was asked and acknowledged, by the same clock.
    pub witness: Arc<Witness>,
    /// The ticks at which something happened.
    pub ticks: std::ops::Range<u64>,
    client: Client,
}

/// Records a new vault: the steps of each part of `parts`, with a close and an opening between them, and an
/// end without a close.
///
/// # Errors
/// A sentence about what failed.
pub fn new_vault(parts: &[Vec<Step>]) -> Result<Recorded, String> {
    let directory = place::directory().map_err(|cause| cause.to_string())?;
    record(directory.path(), Witness::default(), None, parts)
}

/// Records the opening of what `crash` left of `earlier`, and further steps.
///
/// # Errors
/// A sentence about what failed.
pub fn after(earlier: &Recorded, crash: &Crash, parts: &[Vec<Step>]) -> Result<Recorded, String> {
    let directory = place::directory().map_err(|cause| cause.to_string())?;
    let state = crash.state(&earlier.history);
    materialise(&state, &earlier.history, crash.at, directory.path())
        .map_err(|cause| cause.to_string())?;
    let witness = earlier.witness.until(crash.at);
    // With no acknowledgement nothing says that the client's store is still there.
    let client = (witness.oracle.acknowledged() > 0).then(|| earlier.client.clone());
    record(directory.path(), witness, client, parts)
}

fn record(
    directory: &Path,
    witness: Witness,
    client: Option<Client>,
    parts: &[Vec<Step>],
) -> Result<Recorded, String> {
    let before = files(directory).map_err(|cause| cause.to_string())?;
    let witness = Arc::new(witness);
    let first = witness.ticks.now();
    let journal = Arc::new(Journal::new(directory, witness.clone()));
    let home = Home { pack_bytes_max: PACK_BYTES_MAX, ..Home::new(directory) };
    let home = home.observed(journal.clone());
    let (client, entries, last) = runtime().block_on(async {
        let mut client = client;
        let failed = |error: readvault_store::Error| told(&error);
        for (number, steps) in parts.iter().enumerate() {
            let open = home.open().await.map_err(failed)?;
            let who = match client.take() {
                Some(client) => client,
                None => Client::new("a", &open).await.map_err(failed)?,
            };
            for step in steps {
                for done in take(step, &who, &open, &witness).await {
                    done.map_err(failed)?;
                }
            }
            client = Some(who);
            let at_end = number + 1 == parts.len();
            let ended = (journal.entries(), witness.ticks.now());
            open.close().await.map_err(failed)?;
            if at_end {
                return Ok((client.expect("set above"), ended.0, ended.1));
            }
        }
        Err("a workload has parts".to_owned())
    })?;
    let history = History::new(before, &entries);
    Ok(Recorded { history, witness, ticks: first..last, client })
}

/// The files below `directory`, by their path in it.
///
/// # Errors
/// Those of the file system.
pub fn files(directory: &Path) -> std::io::Result<BTreeMap<PathBuf, Bytes>> {
    let mut found = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next)? {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path);
                continue;
            }
            let below = path.strip_prefix(directory).expect("found below").to_owned();
            found.insert(below, fs::read(path)?.into());
        }
    }
    Ok(found)
}
