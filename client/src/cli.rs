//! The command line: nouns, verbs, flags.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Uploads, downloads and lists read sets, and runs workflows on them.
#[derive(Debug, Parser)]
#[command(
    name = "readvault",
    version,
    after_help = "Examples:\n  readvault put --store core --sample NA12878 R1.fastq.gz R2.fastq.gz\n  \
                  readvault run start align -i inputs.json --output s3://results/ --follow\n\n\
                  Exit codes: 0 ok, 1 partly failed, 2 usage, 3 not found, 4 denied, 5 immutable,\n\
                  6 integrity, 7 temporary, 8 quota or disk full, 9 run failed, 10 version, 130 interrupted"
)]
pub struct Cli {
    /// Prints JSON (one object, or one a line for lists) instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress and no messages but errors.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `readvault` does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Uploads files as one read set: one file, or the two files of a FASTQ pair.
    Put(Put),
    /// Downloads the files of a read set and checks them.
    Get(Get),
    /// Lists read sets.
    Ls(Ls),
    /// Shows one read set: files, digests, counts, origin.
    Show {
        /// ID, STORE/ID or URI.
        read_set: String,
    },
    /// Sequence stores.
    Store {
        /// What to do.
        #[command(subcommand)]
        command: StoreCommand,
    },
    /// Workflows.
    Workflow {
        /// What to do.
        #[command(subcommand)]
        command: WorkflowCommand,
    },
    /// Runs.
    Run {
        /// What to do.
        #[command(subcommand)]
        command: RunCommand,
    },
    /// Prints the settings that aws cli, boto3 and samtools need.
    Env {
        /// Prints an AWS configuration block instead of `export` lines.
        #[arg(long)]
        aws_config: bool,
    },
}

/// What to upload, and as what.
#[derive(Debug, Args)]
pub struct Put {
    /// One file, or two of a FASTQ pair.
    #[arg(required = true, num_args = 1..=2)]
    pub files: Vec<PathBuf>,
    /// Name or id of the sequence store.
    #[arg(long, env = "READVAULT_STORE")]
    pub store: String,
    /// Sample; the name of the first file up to its first `_` or `.` when not given.
    #[arg(long)]
    pub sample: Option<String>,
    /// Subject; the sample when not given.
    #[arg(long)]
    pub subject: Option<String>,
    /// Name of the read set; the sample when not given.
    #[arg(long)]
    pub name: Option<String>,
    /// FASTQ, BAM, CRAM or UBAM; told from the name of the file when not given.
    #[arg(long = "type", value_parser = ["FASTQ", "BAM", "CRAM", "UBAM"])]
    pub file_type: Option<String>,
    /// ARN of the reference that reads are aligned to.
    #[arg(long)]
    pub reference: Option<String>,
    /// What it was made from.
    #[arg(long)]
    pub generated_from: Option<String>,
    /// A tag, KEY=VALUE; may be given again.
    #[arg(long = "tag", value_parser = key_value)]
    pub tags: Vec<(String, String)>,
    /// Returns as soon as the bytes are stored, before they are validated.
    #[arg(long)]
    pub no_wait: bool,
    /// Parts sent at once.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub jobs: u8,
}

/// What to download, and where to.
#[derive(Debug, Args)]
pub struct Get {
    /// ID, STORE/ID or URI; with a file at its end, that file only.
    pub read_set: String,
    /// Directory to write into.
    #[arg(long, short, default_value = ".")]
    pub output: PathBuf,
    /// Writes over files that exist.
    #[arg(long)]
    pub force: bool,
}

/// Which read sets to list.
#[derive(Debug, Args)]
pub struct Ls {
    /// Name or id of the sequence store; all stores when not given.
    #[arg(long, env = "READVAULT_STORE")]
    pub store: Option<String>,
    /// Sample.
    #[arg(long)]
    pub sample: Option<String>,
    /// Subject.
    #[arg(long)]
    pub subject: Option<String>,
    /// Name.
    #[arg(long)]
    pub name: Option<String>,
    /// Status, such as ACTIVE.
    #[arg(long)]
    pub status: Option<String>,
    /// `table` or `ids`.
    #[arg(long, default_value = "table", value_parser = ["table", "ids"])]
    pub format: String,
}

/// What to do with sequence stores.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Makes a sequence store.
    Create {
        /// Its name.
        name: String,
        /// What it is for.
        #[arg(long)]
        description: Option<String>,
    },
    /// Lists sequence stores.
    Ls,
}

/// What to do with workflows.
#[derive(Debug, Subcommand)]
pub enum WorkflowCommand {
    /// Registers a workflow: a WDL or CWL file, a directory, or a zip.
    Create {
        /// The definition.
        definition: PathBuf,
        /// Its name; the name of the file when not given.
        #[arg(long)]
        name: Option<String>,
        /// Path of the main file inside a directory or zip.
        #[arg(long)]
        main: Option<String>,
    },
    /// Lists workflows.
    Ls,
}

/// What to do with runs.
#[derive(Debug, Subcommand)]
pub enum RunCommand {
    /// Starts a run.
    Start(Start),
    /// Lists runs.
    Ls,
    /// Shows a run and its tasks.
    Status {
        /// The run's id.
        run: String,
    },
    /// Prints the logs of a run.
    Logs {
        /// The run's id.
        run: String,
        /// Goes on until the run ends.
        #[arg(long, short)]
        follow: bool,
        /// The log of the task with this name or id.
        #[arg(long, conflicts_with = "engine")]
        task: Option<String>,
        /// The engine's log.
        #[arg(long)]
        engine: bool,
    },
    /// Cancels a run.
    Cancel {
        /// The run's id.
        run: String,
    },
    /// Lists the outputs of a run, or downloads them.
    Outputs {
        /// The run's id.
        run: String,
        /// Directory to download into.
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
}

/// What to run, on what, and where results go.
#[derive(Debug, Args)]
pub struct Start {
    /// Name or id of the workflow.
    pub workflow: String,
    /// File with the parameters in JSON.
    #[arg(long, short)]
    pub inputs: Option<PathBuf>,
    /// One parameter, NAME=VALUE (JSON or text); wins over the file; may be given again.
    #[arg(long = "input", value_parser = key_value)]
    pub input: Vec<(String, String)>,
    /// Where results go, `s3://BUCKET/PREFIX`.
    #[arg(long)]
    pub output: String,
    /// Name of the run.
    #[arg(long)]
    pub name: Option<String>,
    /// ARN of the role that the run acts under.
    #[arg(long, env = "READVAULT_RUN_ROLE")]
    pub role: String,
    /// Prints the run's log until it ends; exit code 9 when it fails.
    #[arg(long, short)]
    pub follow: bool,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
