//! `readvault-inspect`: judges untrusted genomic bytes in a cage.
//!
//! `pipe` is what the server starts; `check` does the same for a person, through the same pipe
//! and the same cage; `self-test` shows that the cage holds.

use std::{
    fs::File,
    io::{self, BufWriter},
    os::fd::{AsFd, AsRawFd},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Mutex,
};

use clap::{Parser, Subcommand};
use futures::StreamExt;
use readvault_formats::{
    Outcome, inspect,
    pipe::Conversation,
    sandbox::{self, Probe, SandboxLimits},
};
use readvault_inspect_protocol::{
    ByteStream, FileType, InspectRequest, Inspection, Inspector, InspectorSettings, SourceInfo,
    Verdict,
};
use tokio_util::io::ReaderStream;

/// Recognises, validates, counts and indexes FASTQ, uBAM, BAM, CRAM and reference FASTA.
#[derive(Parser)]
#[command(name = "readvault-inspect", version)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Check one file, or the two of a FASTQ pair; print the verdict as JSON.
    Check {
        /// Files to check.
        #[arg(required = true, num_args = 1..=2)]
        files: Vec<PathBuf>,
        /// Declared type: FASTQ, UBAM, BAM, CRAM or REFERENCE. Without it the bytes decide.
        #[arg(long = "type", value_parser = parse_type)]
        file_type: Option<FileType>,
        /// Write the index that was built to this file.
        #[arg(long)]
        index: Option<PathBuf>,
    },
    /// Try forbidden acts from within the cage and report.
    SelfTest,
    /// Serve one inspection over standard input and output, for the server.
    #[command(hide = true)]
    Pipe {
        /// Address space.
        #[arg(long)]
        memory_bytes: u64,
        /// Processor time.
        #[arg(long)]
        cpu_seconds: u64,
    },
    /// Try one forbidden act.
    #[command(hide = true)]
    Probe {
        /// Name of the act.
        name: String,
    },
}

fn parse_type(name: &str) -> Result<FileType, String> {
    FileType::parse(name).ok_or_else(|| "none of FASTQ, UBAM, BAM, CRAM, REFERENCE".into())
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Action::Check { files, file_type, index } => check(&files, file_type, index.as_deref()),
        Action::SelfTest => self_test(),
        Action::Pipe { memory_bytes, cpu_seconds } => {
            pipe(SandboxLimits { memory_bytes, cpu_seconds })
        }
        Action::Probe { name } => probe(&name),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("readvault-inspect: {error}");
        ExitCode::from(2)
    })
}

type MainResult = Result<ExitCode, Box<dyn std::error::Error>>;

/// Where the last panic was, for the verdict: its message may quote what was parsed.
static PANIC_PLACE: Mutex<Option<String>> = Mutex::new(None);

fn pipe(limits: SandboxLimits) -> MainResult {
    std::panic::set_hook(Box::new(|info| {
        if let (Some(place), Ok(mut last)) = (info.location(), PANIC_PLACE.lock()) {
            let file = place.file();
            let file = file.rsplit_once("/src/").map_or(file, |(_, file)| file);
            *last = Some(format!("{file}:{}", place.line()));
        }
    }));
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    sandbox::enter(limits, &[input.as_raw_fd(), output.as_raw_fd()])?;
    let conversation = Conversation::open(input, BufWriter::new(output))?;
    let inputs = conversation.inputs()?;
    let judged = catch_unwind(AssertUnwindSafe(|| inspect(&conversation.request, inputs)));
    let outcome = judged.unwrap_or_else(|_| {
        let place = PANIC_PLACE.lock().ok().and_then(|place| place.clone());
        let reason = format!("a parser gave up on these bytes at {}", place.unwrap_or_default());
        Ok(Outcome { verdict: Verdict::refused(reason), index: None })
    })?;
    conversation.answer(&outcome)?;
    Ok(ExitCode::SUCCESS)
}

fn probe(name: &str) -> MainResult {
    let probe = Probe::parse(name).ok_or("no probe has that name")?;
    sandbox::enter(SandboxLimits::default(), &[])?;
    Ok(ExitCode::from(probe.attempt()))
}

fn self_test() -> MainResult {
    let (lines, sound) = sandbox::self_test(&std::env::current_exe()?)?;
    for line in lines {
        println!("{line}");
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(files: &[PathBuf], file_type: Option<FileType>, index: Option<&Path>) -> MainResult {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let inspection = runtime.block_on(check_files(files, file_type))?;
    println!("{}", serde_json::to_string_pretty(&inspection.verdict)?);
    if let (Some(path), Some(bytes)) = (index, &inspection.index) {
        std::fs::write(path, bytes)?;
    }
    Ok(match inspection.verdict {
        Verdict::Accepted(_) => ExitCode::SUCCESS,
        Verdict::Refused(_) => ExitCode::FAILURE,
    })
}

async fn check_files(
    files: &[PathBuf],
    file_type: Option<FileType>,
) -> Result<Inspection, Box<dyn std::error::Error>> {
    const READ_BYTES: usize = 256 << 10;
    let mut request = InspectRequest { file_type, ..InspectRequest::default() };
    let mut sources = Vec::new();
    for path in files {
        let file = tokio::fs::File::open(path).await?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        request.sources.push(SourceInfo { name, length: None });
        let bytes: ByteStream = ReaderStream::with_capacity(file, READ_BYTES).boxed();
        sources.push(bytes);
    }
    let inspector = Inspector::new(std::env::current_exe()?, InspectorSettings::default());
    Ok(inspector.inspect(&request, sources).await?)
}
