//! `readvault-exec`: one program for every process of a run.

use std::{ffi::OsStr, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use readvault_workflow_exec::{
    agent::{self, AgentArgs},
    doctor,
    fault::Fault,
    images::unpack,
    mount, reaper,
    sandbox::{self, HelperArgs},
    shim, supervisor,
};
use uuid::Uuid;

/// Runs workflows for ReadVault.
#[derive(Debug, Parser)]
#[command(name = "readvault-exec", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves this node: starts runs, keeps images, reaps.
    Agent(AgentArgs),
    /// Executes one run; started by the agent.
    #[command(hide = true)]
    Supervise,
    /// Makes one container; started by a supervisor.
    #[command(hide = true)]
    Sandbox(HelperArgs),
    /// Takes docker's command line and asks the run's supervisor.
    Shim,
    /// Serves a run's large inputs; started by a supervisor.
    #[command(hide = true)]
    Mount,
    /// Lists what is left of runs on this node; exit code 1 when anything is.
    Leftovers {
        /// Of this run only.
        #[arg(long)]
        run: Option<Uuid>,
        /// The agent's state, to look at uid ranges as well.
        #[arg(long)]
        state: Option<PathBuf>,
    },
    /// Says what this node can do for runs and what it lacks; exit code 1 when runs can't start.
    Doctor,
}

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let called = args.next().unwrap_or_default();
    if let Some(name) = shim::is_called_by(&called) {
        return shim::main(name, args);
    }
    // These take their arguments as they are: an engine's command line, and what this program says to
    // itself.
    let rest = args.skip(1);
    match std::env::args_os().nth(1).as_deref().and_then(OsStr::to_str) {
        Some("shim") => return shim::main("docker", rest),
        Some("mount") => return mount::main(rest),
        Some("unpack") => return unpack::main(rest),
        _ => {}
    }
    let command = match Arguments::try_parse() {
        Ok(arguments) => arguments.command,
        Err(help) => {
            let _ = help.print();
            return ExitCode::from(u8::try_from(help.exit_code()).unwrap_or(2));
        }
    };
    match command {
        Command::Shim | Command::Mount => ExitCode::from(2),
        Command::Sandbox(args) => ExitCode::from(sandbox::helper::main(&args)),
        Command::Agent(args) => {
            trace();
            finish(agent::main(&args))
        }
        Command::Supervise => {
            trace();
            finish(supervisor::main())
        }
        Command::Leftovers { run, state } => leftovers(run, state),
        Command::Doctor => doctor(),
    }
}

fn trace() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
}

fn finish(outcome: Result<(), Fault>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            tracing::error!("{fault}");
            ExitCode::FAILURE
        }
    }
}

fn leftovers(run: Option<Uuid>, state: Option<PathBuf>) -> ExitCode {
    match reaper::leftovers(run, state.as_deref()) {
        Ok(found) if found.is_empty() => {
            println!("nothing is left");
            ExitCode::SUCCESS
        }
        Ok(found) => {
            for leftover in found {
                println!("{leftover}");
            }
            ExitCode::FAILURE
        }
        Err(fault) => {
            eprintln!("readvault-exec: {fault}");
            ExitCode::from(2)
        }
    }
}

fn doctor() -> ExitCode {
    let found = doctor::capabilities();
    println!("cgroups: {}", found.cgroups);
    println!("cores: {}", found.cpus);
    println!("memory for runs: {} bytes", found.memory_bytes);
    for missing in &found.missing {
        println!("missing: {missing}");
    }
    for advice in doctor::advice() {
        println!("advice: {advice}");
    }
    if found.missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
