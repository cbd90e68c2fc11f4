//! `readvaultd`: serves a vault.

use std::process::ExitCode;

use clap::Parser;
use readvault_server::{
    admin::client::{self, Refused},
    app, doctor, images, launcher,
    settings::{Cli, Command, EngineCommand, ImageCommand, Serve},
};

/// Requests allocate much and briefly, on all threads; and chunks in flight come and go by the megabyte, which
/// the allocator of the C library maps and unmaps each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("readvaultd: {cause:#}");
            cause.downcast_ref::<Refused>().map_or(ExitCode::FAILURE, |refused| refused.code.into())
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(settings) => serve(*settings),
        Command::Image { command } => match command {
            ImageCommand::Import { layout, name, data } => {
                images::import_image(&data, layout, name)
            }
            ImageCommand::List { data } => images::list_images(&data),
        },
        Command::Engine { command: EngineCommand::Add { language, layout, data } } => {
            images::add_engine(&data, &language, layout)
        }
        Command::Admin(ask) => client::ask(ask),
        Command::Rebuild(args) => app::rebuild(&args),
        Command::AcceptRebuild(args) => app::accept(&args),
        Command::Restore(args) => app::restore(&args),
        Command::Doctor { data, catalog, catalog_ca } => {
            let catalog = catalog.as_deref().map(|url| (url, catalog_ca.as_deref()));
            doctor::report(data.as_deref(), catalog)
        }
    }
}

/// As root under `--dev`, this process stays keyless and starts agent and server beside each other.
fn serve(settings: Serve) -> anyhow::Result<()> {
    if settings.dev && !settings.launched && launcher::is_root() {
        return launcher::run(&settings);
    }
    app::serve(settings)
}
