//! `readvault`: the command line.

use std::process::ExitCode;

use clap::Parser;
use readvault_client::{
    cli::{Cli, Command, RunCommand, StoreCommand, WorkflowCommand},
    commands::{self, Output},
    config::Config,
    fault::{Exit, Fault, Result},
    session::Session,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output { json: cli.json, quiet: cli.quiet };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(interruptible(cli.command, output)),
        Err(cause) => Err(Fault::new(Exit::Temporary, format!("no threads: {cause}"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("{fault}");
            ExitCode::from(fault.exit as u8)
        }
    }
}

async fn interruptible(command: Command, output: Output) -> Result<()> {
    tokio::select! {
        outcome = run(command, output) => outcome,
        _ = tokio::signal::ctrl_c() => {
            Err(Fault::new(Exit::Interrupted, "interrupted")
                .hint("the same command again: an upload goes on where it stopped"))
        }
    }
}

async fn run(command: Command, output: Output) -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let session = Session::new(Config::load(&environment)?)?;
    match command {
        Command::Put(put) => commands::put::put(&session, &put, output).await,
        Command::Get(get) => commands::get::get(&session, &get, output).await,
        Command::Ls(ls) => commands::ls::ls(&session, &ls, output).await,
        Command::Show { read_set } => commands::ls::show(&session, &read_set).await,
        Command::Store { command } => match command {
            StoreCommand::Create { name, description } => {
                commands::store::create(&session, &name, description.as_deref(), output).await
            }
            StoreCommand::Ls => commands::store::ls(&session, output).await,
        },
        Command::Workflow { command } => match command {
            WorkflowCommand::Create { definition, name, main } => {
                let main = main.as_deref();
                commands::workflow::create(&session, &definition, (name, main), output).await
            }
            WorkflowCommand::Ls => commands::workflow::ls(&session, output).await,
        },
        Command::Run { command } => run_command(&session, command, output).await,
        Command::Env { aws_config } => {
            commands::env::print(session.config(), aws_config);
            Ok(())
        }
    }
}

async fn run_command(session: &Session, command: RunCommand, output: Output) -> Result<()> {
    match command {
        RunCommand::Start(start) => commands::run::start(session, &start, output).await,
        RunCommand::Ls => commands::run::ls(session, output).await,
        RunCommand::Status { run } => commands::run::status(session, &run, output).await,
        RunCommand::Logs { run, follow, task, engine } => {
            let log = commands::logs::Log::choose(task, engine);
            commands::logs::print(session, &run, log, follow).await
        }
        RunCommand::Cancel { run } => commands::run::cancel(session, &run).await,
        RunCommand::Outputs { run, output: into } => {
            commands::outputs::outputs(session, &run, into.as_deref(), output).await
        }
    }
}
