//! `readvaultd status`: how a live server stands.

use std::{collections::BTreeMap, fmt::Write, path::Path, time::Duration};

use async_trait::async_trait;
use clap::Args;
use readvault_ops::{
    Fault,
    core::rfc3339,
    fault::Result,
    listing, tables,
    upkeep::{self, Ended},
};
use readvault_store::vault::UPLOAD_CHUNKS_MAX;
use serde::{Deserialize, Serialize};

use super::{Answer, Call, Command, Desk};

/// Rows of one table that are counted; where there are more, this is said.
const COUNTED_MAX: usize = 10_000;

/// Says how the live server of a vault stands.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub struct Status {}

/// What is said. Counts of rows stop at 10,000.
#[derive(Clone, Debug, Serialize)]
struct Standing {
    version: &'static str,
    vault: String,
    writer: String,
    uptime_seconds: u64,
    packs: Files,
    catalog: Files,
    free_bytes: u64,
    master_keys: BTreeMap<String, Wraps>,
    jobs_waiting: usize,
    uploads_open: usize,
    uploads_in_flight: usize,
    chunks_in_flight: usize,
    upkeep: Vec<Ended>,
}

/// The files of one directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Files {
    count: u64,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Wraps {
    vault_keys: u64,
    store_keys: u64,
}

#[async_trait]
impl Command for Status {
    fn action(&self) -> &'static str {
        "readvault:Status"
    }

    async fn run(&self, desk: &Desk, _call: &Call) -> Result<Answer> {
        let standing = look(desk).await?;
        Ok(Answer::new(text(&standing), &standing))
    }
}

async fn look(desk: &Desk) -> Result<Standing> {
    let core = &desk.core;
    let (vault, keys) = (core.vault(), core.vault().keys());
    let data = desk.data.clone();
    let disk = tokio::task::spawn_blocking(move || measure(&data)).await;
    let (packs, catalog, free_bytes) =
        disk.map_err(|cause| Fault::internal("the disk can't be measured").because(cause))?;
    let count = |table| listing::count(core, table, COUNTED_MAX);
    let uploads_open = count(tables::MULTIPARTS).await? + count(tables::READ_SET_UPLOADS).await?;
    let wraps = keys.wraps().into_iter().map(|(name, usage)| {
        (name, Wraps { vault_keys: usage.of_vault, store_keys: usage.of_stores })
    });
    Ok(Standing {
        version: env!("CARGO_PKG_VERSION"),
        vault: keys.vault().to_string(),
        writer: vault.writer().to_string(),
        uptime_seconds: core.clock().monotonic().saturating_sub(desk.began).as_secs(),
        packs,
        catalog,
        free_bytes,
        master_keys: wraps.collect(),
        jobs_waiting: count(tables::JOBS).await?,
        uploads_open,
        uploads_in_flight: vault.uploads_in_flight(),
        chunks_in_flight: vault.chunks_in_flight(),
        upkeep: upkeep::last(core).await?,
    })
}

/// Packs, catalog and free bytes of the data directory.
fn measure(data: &Path) -> (Files, Files, u64) {
    let free = nix::sys::statvfs::statvfs(data)
        .map_or(0, |stat| stat.blocks_available().saturating_mul(stat.fragment_size()));
    (files(&data.join("packs")), files(&data.join("catalog")), free)
}

/// The files of `directory`; what goes away meanwhile, or can't be read, is left out.
fn files(directory: &Path) -> Files {
    let mut files = Files::default();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if let Ok(meta) = entry.metadata()
            && meta.is_file()
        {
            files.count += 1;
            files.bytes += meta.len();
        }
    }
    files
}

fn text(standing: &Standing) -> String {
    let mut out = String::new();
    let mut line = |name: &str, what: String| {
        let _ = writeln!(out, "{name:<10} {what}");
    };
    line("version", standing.version.to_owned());
    line("vault", standing.vault.clone());
    line("writer", standing.writer.clone());
    line("up", duration(Duration::from_secs(standing.uptime_seconds)));
    line("packs", sized(standing.packs));
    line("catalog", sized(standing.catalog));
    line("free", bytes(standing.free_bytes));
    for (name, wraps) in &standing.master_keys {
        let Wraps { vault_keys, store_keys } = wraps;
        line("key", format!("{name} wraps {vault_keys} vault and {store_keys} store keys"));
    }
    line("jobs", format!("{} waiting or running", counted(standing.jobs_waiting)));
    let chunks = format!("{} of {UPLOAD_CHUNKS_MAX} chunks in memory", standing.chunks_in_flight);
    let flying = standing.uploads_in_flight;
    let open = counted(standing.uploads_open);
    line("uploads", format!("{open} open, {flying} in flight, {chunks}"));
    for Ended { name, ended_ms, summary } in &standing.upkeep {
        line(name, format!("{summary} ({})", rfc3339(*ended_ms)));
    }
    out
}

fn counted(count: usize) -> String {
    if count < COUNTED_MAX { count.to_string() } else { format!("{count} or more") }
}

fn sized(files: Files) -> String {
    format!("{} files, {}", files.count, bytes(files.bytes))
}

fn bytes(count: u64) -> String {
    match count {
        0..1_048_576 => format!("{count} bytes"),
        1_048_576..10_737_418_240 => format!("{} MiB", count >> 20),
        _ => format!("{} GiB", count >> 30),
    }
}

fn duration(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    let (days, hours) = (minutes / 1440, minutes / 60 % 24);
    match minutes {
        0 => format!("{} s", time.as_secs()),
        1..60 => format!("{minutes} min"),
        60..1440 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_read_well() {
        let cases = [(0, "0 s"), (61, "1 min"), (3_700, "1 h 1 min"), (90_000, "1 d 1 h")];
        for (seconds, text) in cases {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
        assert_eq!(bytes(7), "7 bytes");
        assert_eq!(bytes(3 << 20), "3 MiB");
        assert_eq!(bytes(20 << 30), "20 GiB");
        assert_eq!(counted(COUNTED_MAX), "10000 or more");
    }
}
