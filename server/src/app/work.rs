//! What runs beside the APIs: jobs, runs, the conversation with them, and small upkeep.

use std::{path::PathBuf, sync::Arc, time::Duration};

use readvault_exec_protocol::{agent::RunResources, run::Staging};
use readvault_inspect_protocol::{Inspector, InspectorSettings};
use readvault_ops::{
    dispatch::{NoAgent, RunDispatch, start_job::StartRunJob},
    import::ImportSources,
    inspection::{Inspect, InspectReadSets},
    jobs::{JobHandler, Jobs},
    multipart::Multiparts,
    object::Objects,
    read_set_job::ExportReadSets,
    read_set_upload::discard::DiscardParts,
    run::{RunParts, RunSettings, Runs},
    workflow::Workflows,
};

use super::{Checkpoints, Ground, open::InspectorProgram, upkeep::Upkeep};
use crate::{agent_client::AgentClient, exec_bridge::ExecBridge, settings::Serve};

/// Jobs that run at once.
const JOBS_AT_ONCE: usize = 4;

/// Time between two looks for keys that may no longer be used.
const EXPIRY: Duration = Duration::from_secs(5);

/// Bytes of all logs of one run.
const RUN_LOG_BYTES_MAX: u64 = 64 << 20;

/// The socket of the run conversation, in the runtime directory.
const RUN_SOCKET: &str = "run.sock";

/// What runs beside the APIs until it is dropped.
pub(super) struct Work {
    ground: Ground,
    runs: Runs,
    multiparts: Multiparts,
    handlers: Vec<Arc<dyn JobHandler>>,
    upkeep: Upkeep,
    socket: Option<PathBuf>,
    checkpoints: (Checkpoints, Duration),
    /// Kept open: its descriptor is the path by which inspections start it.
    _inspector: Option<InspectorProgram>,
}

impl Work {
    pub(super) fn new(
        settings: &Serve,
        (ground, checkpoints): (&Ground, Checkpoints),
        objects: &Objects,
        inspector: Option<InspectorProgram>,
    ) -> Self {
        let program = inspector.as_ref().map_or_else(PathBuf::new, InspectorProgram::path);
        let inspect: Arc<dyn Inspect> =
            Arc::new(Inspector::new(program, InspectorSettings::default()));
        let socket = settings.runtime.as_ref().map(|runtime| runtime.join(RUN_SOCKET));
        let runs = runs(settings, ground, objects, socket.clone());
        let Ground { core, identity, authorizer, .. } = ground.clone();
        let handlers: Vec<Arc<dyn JobHandler>> = vec![
            Arc::new(InspectReadSets::new(core.clone(), inspect.clone())),
            Arc::new(ImportSources::new(
                identity.clone(),
                authorizer.clone(),
                objects.clone(),
                inspect,
            )),
            Arc::new(ExportReadSets::new(identity, authorizer, objects.clone())),
            Arc::new(DiscardParts::new(core)),
            Arc::new(StartRunJob::new(runs.clone())),
        ];
        Self {
            ground: ground.clone(),
            runs,
            multiparts: Multiparts::new(objects.clone()),
            handlers,
            upkeep: Upkeep::new(ground.core.clone(), settings.upkeep.clone()),
            socket,
            checkpoints: (checkpoints, Duration::from_secs(60 * settings.checkpoint_minutes)),
            _inspector: inspector,
        }
    }

    /// The runs, for their API.
    pub(super) fn runs(&self) -> &Runs {
        &self.runs
    }

    /// Runs until it is dropped.
    pub(super) async fn run(self) {
        let jobs = self.ground.jobs.clone();
        if let Err(fault) = self.multiparts.sweep().await {
            tracing::warn!(%fault, "parts of ended uploads could not be swept");
        }
        match jobs.resume().await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "jobs of an earlier start go on"),
            Err(fault) => tracing::error!(%fault, "jobs of an earlier start can't be listed"),
        }
        tokio::join!(
            work_on(&jobs, self.handlers.clone()),
            self.converse(),
            self.runs.watch(),
            self.upkeep.run(),
            self.expire(),
            self.checkpoints.0.run(self.checkpoints.1),
        );
    }

    /// Serves the conversation with runs, when this server has any.
    async fn converse(&self) {
        let Some(socket) = &self.socket else { return };
        match ExecBridge::bind(socket) {
            Ok(listener) => ExecBridge::new(Arc::new(self.runs.clone())).serve(listener).await,
            Err(cause) => tracing::error!(%cause, "runs can't speak to this server: no socket"),
        }
    }

    async fn expire(&self) {
        loop {
            tokio::time::sleep(EXPIRY).await;
            self.ground.core.vault().expire();
        }
    }
}

async fn work_on(jobs: &Jobs, handlers: Vec<Arc<dyn JobHandler>>) {
    jobs.run(handlers, JOBS_AT_ONCE).await;
}

fn runs(settings: &Serve, ground: &Ground, objects: &Objects, socket: Option<PathBuf>) -> Runs {
    let Ground { core, identity, authorizer, jobs } = ground.clone();
    let dispatch: Arc<dyn RunDispatch> = match &settings.agent {
        Some(agent) => Arc::new(AgentClient::new(agent.clone())),
        None => Arc::new(NoAgent("this server was started without an agent".into())),
    };
    let workflows = Workflows::new(core.clone(), authorizer.clone(), Arc::new(objects.clone()));
    Runs::new(RunParts {
        core,
        identity,
        authorizer,
        jobs,
        workflows,
        dispatch,
        settings: RunSettings {
            resources: resources(settings),
            staging: match settings.run_staging.as_str() {
                "tmpfs" => Staging::Tmpfs,
                "mount" => Staging::Mount,
                _ => Staging::Auto,
            },
            server_socket: socket.unwrap_or_default(),
            log_bytes_max: RUN_LOG_BYTES_MAX,
        },
    })
}

/// The allocation of each run: what the operator says, else a share of this machine.
fn resources(settings: &Serve) -> RunResources {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = memory_bytes() / 6;
    let mib = |given: Option<u64>| given.map_or(share, |mib| mib << 20);
    RunResources {
        cpus: settings.run_cpus.unwrap_or_else(|| u32::try_from(cores).unwrap_or(u32::MAX)),
        memory_bytes: mib(settings.run_memory_mib),
        scratch_bytes: mib(settings.run_scratch_mib),
        seconds_max: settings.run_hours.saturating_mul(3600),
    }
}

/// Bytes of memory of this machine; 4 GiB when it does not say.
fn memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map_or(4 << 30, |kib| kib << 10)
}
