//! The composition root: the one place that names concrete types.

use std::sync::Arc;

use anyhow::{Context, Result};
use metrics_exporter_prometheus::PrometheusHandle;
use readvault_ambient::{Clock, System};
use readvault_ops::{
    authorize::Authorizer,
    core::{Core, Site},
    identity::Identity,
    jobs::Jobs,
    recover,
};
use readvault_store::{space::Space, vault::Vault};
use tokio::net::TcpListener;

use self::gauges::Gauges;
use crate::{
    dev,
    front_door::{
        Connections, FrontDoor,
        admission::{self, Admission, AdmissionParams},
    },
    privileges,
    settings::Serve,
};

mod accept;
mod administration;
mod apis;
pub(crate) mod catalog;
mod checkpoint;
mod gauges;
mod open;
mod own;
mod pieces;
mod rebuild;
mod restore;
mod tls;
mod upkeep;
mod verify;
mod work;

pub use accept::{AcceptArgs, accept};
pub use checkpoint::Checkpoints;
pub use rebuild::{RebuildArgs, rebuild};
pub use restore::{Depth, RestoreArgs, restore};

/// Worker threads of the runtime: one a core, and no fewer than this.
const THREADS_MIN: usize = 2;

/// Threads for work that blocks or computes for long: each may hold a chunk twice, as it came and sealed.
const BLOCKING_THREADS_MAX: usize = 32;

/// Times that a port which is taken is tried again.
const BIND_ATTEMPTS: u32 = 50;

/// Time between two of these.
const BIND_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// Time between two looks at a disk that was full.
const SPACE_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

/// Open files that are kept for packs, the catalog and the programs that this one starts.
const FILES_BESIDE: usize = 1024;

/// What every part of the server stands on.
#[derive(Clone, Debug)]
struct Ground {
    core: Core,
    identity: Identity,
    authorizer: Authorizer,
    jobs: Jobs,
}

/// What was opened before rights were given up.
struct Doors {
    listener: std::net::TcpListener,
    tls: Option<tokio_rustls::TlsAcceptor>,
    inspector: Option<open::InspectorProgram>,
    catalog: catalog::Place,
}

/// Serves a vault until SIGTERM or SIGINT.
///
/// # Errors
/// When the vault can't be opened, the port is taken, or the settings contradict each other; each says
/// what to do.
pub fn serve(mut settings: Serve) -> Result<()> {
    // What needs the rights or the paths of the starter is opened before they are given up.
    let doors = Doors {
        listener: bind(&settings)?,
        tls: tls::acceptor(&settings)?,
        inspector: open::InspectorProgram::find(),
        catalog: catalog::place(&settings)?,
    };
    let source = open::key_source(&settings)?;
    enter(&mut settings)?;
    if settings.launched {
        privileges::drop_to(settings.uid)?;
    } else {
        privileges::harden()?;
    }
    logging(&settings.log_format);
    let cores = std::thread::available_parallelism().map_or(THREADS_MIN, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.max(THREADS_MIN))
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
        .context("threads can't be started")?;
    runtime.block_on(run(settings, doors, source))
}

/// A `--dev` vault that a program has open beside no server. Its directory is held until this is dropped.
pub struct DevVault(open::Open);

impl DevVault {
    /// Opens the vault of a `--dev` data directory, or makes a new one, for a program that puts rows into
    /// it in bulk. What the program did not commit is undone at the next start.
    ///
    /// # Errors
    /// When the directory is held by another process, or the vault can't be opened.
    pub async fn open(settings: &Serve) -> Result<Self> {
        std::fs::create_dir_all(&settings.data).context("the data directory can't be made")?;
        let place = catalog::Place::Embedded;
        Ok(Self(open::vault(settings, open::Source::Dev, place).await?))
    }

    /// The vault.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.0.vault
    }
}

impl std::fmt::Debug for DevVault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DevVault").finish_non_exhaustive()
    }
}

async fn run(settings: Serve, doors: Doors, source: open::Source) -> Result<()> {
    let mut stop = Stop::listen()?;
    let began = System.monotonic();
    let metrics = metrics_exporter_prometheus::PrometheusBuilder::new()
        .install_recorder()
        .context("metrics can't be recorded")?;
    let given = settings.root_access_key.is_some() && settings.root_secret_key.is_some();
    if !settings.dev && !given {
        anyhow::bail!(
            "root has no credentials: set READVAULT_DEV_ACCESS_KEY and READVAULT_DEV_SECRET_KEY in the \
             server's environment (users and further keys are not built yet)"
        );
    }
    let root = dev::root_credentials(
        (settings.root_access_key.clone(), settings.root_secret_key.clone()),
        &settings.data,
        &System,
    )?;
    let site = Site { account: settings.account.clone(), region: settings.region.clone() };
    let open = open::vault(&settings, source, doors.catalog).await?;
    let identity = Identity::new(site.clone(), root.clone());
    if settings.dev {
        let env = dev::DevEnv {
            root: &root,
            listen: doors.listener.local_addr().context("the port has no address")?,
            secure: doors.tls.is_some(),
            region: &site.region,
            account: &site.account,
            run_role: &identity.run_role_arn(),
        };
        dev::write(&settings.data, &env)?;
    }
    let core = Core::new(open.vault.clone(), site, Arc::new(System), Arc::new(System))
        .on(open.space.clone());
    let jobs = Jobs::new(core.clone());
    let ground = Ground { core, identity, authorizer: Authorizer::default(), jobs };
    judge_rebuild(&ground).await?;
    let checkpoints =
        Checkpoints::new(ground.core.clone(), settings.data.join(rebuild::CHECKPOINTS));
    let beside = (&ground, &checkpoints);
    let administrators = administration::open(&settings, beside, &open, began).await?;
    let gauges = gauges(&settings, &open, metrics);
    let connections = gauges.connections.clone();
    let (apis, work) = apis::compose(&settings, (ground, checkpoints), doors.inspector, gauges);
    let work = tokio::spawn(work.run());
    let administrators = tokio::spawn(administrators.serve());
    let space = tokio::spawn(watch(open.space.clone()));
    let door = FrontDoor {
        handler: apis,
        clock: Arc::new(System),
        entropy: Arc::new(System),
        tls: doors.tls,
        connections,
    };
    let listener = TcpListener::from_std(doors.listener).context("the port can't be used")?;
    say_ready(&settings, &listener);
    door.serve(listener, stop.asked()).await;
    for beside in [administrators, space, work] {
        beside.abort();
        let _ = beside.await;
    }
    open.close().await
}

/// A vault that was rebuilt without a catalog serves nobody but root until that is accepted.
async fn judge_rebuild(ground: &Ground) -> Result<()> {
    if recover::unaccepted(&ground.core).await?.is_some() {
        ground.authorizer.restrict();
        tracing::warn!(
            "this vault was rebuilt without a catalog: it serves nobody but root until \
             `readvaultd accept-rebuild`"
        );
    }
    Ok(())
}

/// The limits of this server, and what shows how much of them is in use.
fn gauges(settings: &Serve, open: &open::Open, metrics: PrometheusHandle) -> Gauges {
    Gauges {
        metrics,
        admission: Admission::new(AdmissionParams {
            requests: settings.requests_max,
            uploads: settings.uploads_max,
            wait: admission::WAIT_MAX,
        }),
        connections: Connections::new(connections_max(settings)),
        vault: open.vault.clone(),
        catalog: open.catalog.clone(),
        chunks: open.chunks.clone(),
        space: open.space.clone(),
    }
}

/// Connections at once: what the settings say, as far as this process may open files for them.
fn connections_max(settings: &Serve) -> usize {
    let files = privileges::open_files_max();
    let room = usize::try_from(files).unwrap_or(usize::MAX).saturating_sub(FILES_BESIDE);
    if room < settings.connections_max {
        tracing::warn!(
            files,
            connections = room,
            "few files may be open: fewer connections are taken"
        );
    }
    settings.connections_max.min(room.max(1))
}

/// Takes the reserve of the disk again once there is room.
async fn watch(space: Arc<Space>) {
    loop {
        tokio::time::sleep(SPACE_PAUSE).await;
        space.recover();
    }
}

/// Listens before the vault is opened, so that a port that stays taken is said early.
fn bind(settings: &Serve) -> Result<std::net::TcpListener> {
    let mut patience = BIND_ATTEMPTS;
    let listener = loop {
        match std::net::TcpListener::bind(settings.listen) {
            Ok(listener) => break listener,
            // After a kill the server of an earlier start may still be dying.
            Err(cause) if cause.kind() == std::io::ErrorKind::AddrInUse && patience > 0 => {
                patience -= 1;
                std::thread::sleep(BIND_PAUSE);
            }
            Err(cause) => {
                return Err(cause)
                    .with_context(|| format!("{} can't be listened on", settings.listen));
            }
        }
    };
    listener.set_nonblocking(true).context("the port can't be used")?;
    Ok(listener)
}

/// Goes into the data directory, so that no path above it need be readable later.
fn enter(settings: &mut Serve) -> Result<()> {
    std::fs::create_dir_all(&settings.data).context("the data directory can't be made")?;
    let Serve { agent, runtime, upkeep, .. } = settings;
    for path in [agent, runtime, &mut upkeep.second_copy].into_iter().flatten() {
        *path = std::path::absolute(&*path).context("a path can't be made absolute")?;
    }
    std::env::set_current_dir(&settings.data).context("the data directory can't be entered")?;
    settings.data = ".".into();
    Ok(())
}

fn say_ready(settings: &Serve, listener: &TcpListener) {
    if let Ok(address) = listener.local_addr() {
        let scheme = if settings.tls_cert.is_some() { "https" } else { "http" };
        eprintln!("readvaultd: ready on {scheme}://{address}");
    }
    if settings.dev {
        eprintln!("readvaultd: a --dev vault; clients source dev.env in the data directory");
    }
    if settings.agent.is_none() {
        eprintln!("readvaultd: runs are off: no agent (start as root, or name one with --agent)");
    }
}

fn logging(format: &str) {
    let default = "info,s3s=off,hyper=warn,h2=warn";
    let filter = tracing_subscriber::EnvFilter::try_from_env("READVAULT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let to = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process, as in tests, keeps the first one's subscriber.
    let _ = if format == "json" { to.json().try_init() } else { to.with_ansi(false).try_init() };
}

/// The signals that end the server.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    fn listen() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).context("signals can't be listened for");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
