//! What an operator sets: command line and environment, parsed once, here.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::{
    admin::{Ask, source::SourceArgs},
    app,
    front_door::{CONNECTIONS_MAX, admission},
};

/// A self-hosted genomic object store: S3 and HealthOmics APIs over sealed read sets.
#[derive(Debug, Parser)]
#[command(
    name = "readvaultd",
    version,
    after_help = "Examples:\n  readvaultd serve --dev --data ./vault --listen 127.0.0.1:9000\n  \
                  readvaultd status --data ./vault\n  \
                  readvaultd image import ./tools --name tools:1 --data ./vault"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `readvaultd` does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serves a vault until SIGTERM.
    Serve(Box<Serve>),
    /// Images that tasks may name.
    Image {
        /// What to do with images.
        #[command(subcommand)]
        command: ImageCommand,
    },
    /// Engines that run workflows.
    Engine {
        /// What to do with engines.
        #[command(subcommand)]
        command: EngineCommand,
    },
    /// Commands to a live server.
    #[command(flatten)]
    Admin(Ask),
    /// Makes a new catalog from checkpoint and packs; the server must be stopped.
    Rebuild(app::RebuildArgs),
    /// Lets a vault that was rebuilt without a catalog serve others than root.
    AcceptRebuild(app::AcceptArgs),
    /// Brings a vault back from a backup, into an empty directory.
    Restore(app::RestoreArgs),
    /// Says what this machine lacks, and what to do about it.
    Doctor {
        /// The data directory to look at, too.
        #[arg(long)]
        data: Option<PathBuf>,
        /// The database of the catalog to look at, too.
        #[arg(long, env = "READVAULT_CATALOG", hide_env_values = true)]
        catalog: Option<String>,
        /// Certificate authorities in PEM that vouch for the database.
        #[arg(long, env = "READVAULT_CATALOG_CA", requires = "catalog")]
        catalog_ca: Option<PathBuf>,
    },
}

/// How a vault is served.
#[derive(Clone, Debug, Args)]
pub struct Serve {
    /// The data directory; made when it does not exist.
    #[arg(long, env = "READVAULT_DATA")]
    pub data: PathBuf,
    /// Address and port of all APIs.
    #[arg(long, env = "READVAULT_LISTEN", default_value = "127.0.0.1:9000")]
    pub listen: SocketAddr,
    /// A vault to try things with: makes a key file beside the data and root credentials in
    /// `DATA/dev.env`. Never for data that must stay secret.
    #[arg(long)]
    pub dev: bool,
    /// Certificate chain in PEM; with it the port speaks TLS only.
    #[arg(long, env = "READVAULT_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key in PEM.
    #[arg(long, env = "READVAULT_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// What opens the keyring.
    #[command(flatten)]
    pub source: SourceArgs,
    /// URL of a PostgreSQL database that holds the catalog, instead of the data directory. One with a
    /// password belongs into the environment, as others can read a command line.
    #[arg(long, env = "READVAULT_CATALOG", hide_env_values = true)]
    pub catalog: Option<String>,
    /// Certificate authorities in PEM that vouch for the database; connections are TLS then.
    #[arg(long, env = "READVAULT_CATALOG_CA", requires = "catalog")]
    pub catalog_ca: Option<PathBuf>,
    /// The account that owns everything (12 digits).
    #[arg(long, env = "READVAULT_ACCOUNT", default_value = "000000000000", value_parser = account)]
    pub account: String,
    /// The region that ARNs and URIs name (`xx-word-n`).
    #[arg(long, env = "READVAULT_REGION", default_value = "us-east-1", value_parser = region)]
    pub region: String,
    /// Host names under which buckets are virtual hosts; others are path style.
    #[arg(long = "s3-domain", env = "READVAULT_S3_DOMAINS", value_delimiter = ',')]
    pub s3_domains: Vec<String>,
    /// Access key of root; with `--dev` one is generated otherwise.
    #[arg(long, env = "READVAULT_DEV_ACCESS_KEY", hide = true)]
    pub root_access_key: Option<String>,
    /// Secret of root, from the environment or a credential file only.
    #[arg(long, env = "READVAULT_DEV_SECRET_KEY", hide = true, hide_env_values = true)]
    pub root_secret_key: Option<String>,
    /// MiB of the data directory's disk that are kept free: below, data is refused with 507.
    #[arg(long, env = "READVAULT_KEEP_FREE_MIB", default_value_t = 256)]
    pub keep_free_mib: u64,
    /// MiB held in `DATA/reserve`, which are let go so that a full disk can be emptied.
    #[arg(long, env = "READVAULT_RESERVE_MIB", default_value_t = 64)]
    pub reserve_mib: u64,
    /// Connections at once; a few more are told to come again.
    #[arg(long, env = "READVAULT_CONNECTIONS_MAX", default_value_t = CONNECTIONS_MAX)]
    pub connections_max: usize,
    /// Requests worked on at once; others wait at most 10 seconds and are then told to come again.
    #[arg(long, env = "READVAULT_REQUESTS_MAX", default_value_t = admission::REQUESTS_MAX)]
    pub requests_max: usize,
    /// Among them those with bodies of 64 KiB and more.
    #[arg(long, env = "READVAULT_UPLOADS_MAX", default_value_t = admission::UPLOADS_MAX)]
    pub uploads_max: usize,
    /// Where chunks go: `null` keeps nothing, to measure what comes before the disk.
    #[arg(long, default_value = "local", value_parser = ["local", "null"], hide = true)]
    pub chunk_store: String,
    /// What ETags are: `fast` (an MD5 of small objects and of what came with Content-MD5, opaque
    /// otherwise) or `md5` (AWS's own values everywhere, at the cost of a core per stream).
    #[arg(long, env = "READVAULT_ETAG", default_value = "fast", value_parser = ["fast", "md5"])]
    pub etag: String,
    /// Unix socket of the agent that executes runs; without it runs are off.
    #[arg(long, env = "READVAULT_AGENT")]
    pub agent: Option<PathBuf>,
    /// Cores of one run; all of the machine when not given.
    #[arg(long, env = "READVAULT_RUN_CPUS")]
    pub run_cpus: Option<u32>,
    /// MiB of memory of one run's tasks together; a sixth of the machine's when not given.
    #[arg(long, env = "READVAULT_RUN_MEMORY_MIB")]
    pub run_memory_mib: Option<u64>,
    /// MiB of one run's file system in memory; a sixth of the machine's when not given.
    #[arg(long, env = "READVAULT_RUN_SCRATCH_MIB")]
    pub run_scratch_mib: Option<u64>,
    /// How inputs reach a run: `auto` (up to a quarter of its memory in its tmpfs, larger ones by a
    /// read-only mount that decrypts on demand), `tmpfs` or `mount` for all.
    #[arg(long, env = "READVAULT_RUN_STAGING", default_value = "auto",
          value_parser = ["auto", "tmpfs", "mount"])]
    pub run_staging: String,
    /// Hours after which a run is ended.
    #[arg(long, env = "READVAULT_RUN_HOURS", default_value_t = 168)]
    pub run_hours: u64,
    /// How the vault is kept in order.
    #[command(flatten)]
    pub upkeep: UpkeepSettings,
    /// Minutes between two checkpoints of the catalog.
    #[arg(long, env = "READVAULT_CHECKPOINT_MINUTES", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..=10_080))]
    pub checkpoint_minutes: u64,
    /// Directory of the sockets that runs speak to.
    #[arg(long, hide = true)]
    pub runtime: Option<PathBuf>,
    /// User id that a server started as root under `--dev` takes.
    #[arg(long, default_value_t = 61_740, hide = true)]
    pub uid: u32,
    /// Marks the process that the launcher started.
    #[arg(long, hide = true)]
    pub launched: bool,
    /// `text` or `json`.
    #[arg(long, env = "READVAULT_LOG_FORMAT", default_value = "text")]
    pub log_format: String,
}

/// When and how the vault is kept in order.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Upkeep")]
pub struct UpkeepSettings {
    /// Hours between two cycles of garbage collection; 0 = none by itself.
    #[arg(long, env = "READVAULT_GC_HOURS", default_value_t = 6)]
    pub gc_hours: u64,
    /// Percent of a pack that must be dead before what lives in it is moved and the pack removed.
    #[arg(long, env = "READVAULT_GC_DEAD_PERCENT", default_value_t = 30,
          value_parser = clap::value_parser!(u8).range(1..=100))]
    pub gc_dead_percent: u8,
    /// Days between two scrubs, which read everything that is stored; 0 = none by itself.
    #[arg(long, env = "READVAULT_SCRUB_DAYS", default_value_t = 30)]
    pub scrub_days: u64,
    /// MiB a second that a scrub reads at most; 0 = as fast as it goes.
    #[arg(long, env = "READVAULT_SCRUB_MIB_A_SECOND", default_value_t = 64)]
    pub scrub_mib_a_second: u64,
    /// Percent of files of which a scrub opens every chunk with its key.
    #[arg(long, env = "READVAULT_SCRUB_OPEN_PERCENT", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(0..=100))]
    pub scrub_open_percent: u8,
    /// Directory of a backup of this vault, from which a scrub mends what is damaged.
    #[arg(long, env = "READVAULT_SECOND_COPY")]
    pub second_copy: Option<PathBuf>,
}

/// What to do with images.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Imports an OCI layout (a directory or a tar) as NAME:TAG, with the server running or not.
    Import {
        /// The layout.
        layout: PathBuf,
        /// The name that tasks use.
        #[arg(long)]
        name: String,
        /// The data directory of the vault.
        #[arg(long, env = "READVAULT_DATA")]
        data: PathBuf,
    },
    /// Lists images and engines.
    List {
        /// The data directory of the vault.
        #[arg(long, env = "READVAULT_DATA")]
        data: PathBuf,
    },
}

/// What to do with engines.
#[derive(Debug, Subcommand)]
pub enum EngineCommand {
    /// Adds the engine of a language from an OCI layout, with the server running or not.
    Add {
        /// The language; CWL and Nextflow are not built yet.
        #[arg(value_parser = ["wdl"])]
        language: String,
        /// The layout.
        layout: PathBuf,
        /// The data directory of the vault.
        #[arg(long, env = "READVAULT_DATA")]
        data: PathBuf,
    },
}

fn account(text: &str) -> Result<String, String> {
    let digits = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { Ok(text.into()) } else { Err("an account is 12 digits".into()) }
}

fn region(text: &str) -> Result<String, String> {
    let mut words = text.split('-');
    let first = words.next().is_some_and(|w| w.len() == 2 && w.bytes().all(lower));
    let last = words.next_back().is_some_and(|w| !w.is_empty() && w.bytes().all(digit));
    let middle: Vec<_> = words.collect();
    let wordy = !middle.is_empty() && middle.iter().all(|w| !w.is_empty() && w.bytes().all(lower));
    if first && last && wordy {
        Ok(text.into())
    } else {
        Err("a region looks like `xx-word-1`: clients parse it out of URIs".into())
    }
}

fn lower(byte: u8) -> bool {
    byte.is_ascii_lowercase()
}

fn digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_look_like_those_that_clients_parse() {
        for good in ["us-east-1", "eu-hospital-12", "us-gov-west-1"] {
            assert!(region(good).is_ok(), "{good}");
        }
        for bad in ["", "us", "us-1", "us-east", "USA-east-1", "us--1", "us-east-a"] {
            assert!(region(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn accounts_are_twelve_digits() {
        assert!(account("123456789012").is_ok());
        assert!(account("12345678901").is_err());
        assert!(account("12345678901x").is_err());
    }
}
