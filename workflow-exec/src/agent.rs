//! The node's agent: root, no keys. Starts one supervisor a run, hands out uid ranges, reaps.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use readvault_ambient::System;
use readvault_exec_protocol::{
    PROTOCOL_VERSION,
    agent::{AgentReply, AgentRequest, RunResources},
    frame::{read_frame, write_frame},
};
use tokio::{
    io::AsyncWriteExt,
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    sync::Mutex as AsyncMutex,
};
use uuid::Uuid;

use crate::{
    cgroup::Cgroups,
    doctor,
    fault::{Doing, Fault},
    images::ImageStore,
    lease::Leases,
    reaper::{self, PARENT_PREFIX},
    supervisor::SupervisorOrder,
};

mod start;

/// Settings of an agent; its arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct AgentArgs {
    /// Directory of images, leases and this agent's name; root's only.
    #[arg(long)]
    pub state: PathBuf,
    /// Unix socket to listen on.
    #[arg(long)]
    pub socket: PathBuf,
    /// Uid of the server: it and root may speak to the agent.
    #[arg(long)]
    pub server_uid: u32,
    /// Ends, with every run, when the process that started it does.
    #[arg(long)]
    pub die_with_parent: bool,
}

/// A node's agent.
#[derive(Debug)]
pub struct Agent {
    cgroups: Cgroups,
    parent: String,
    salt: u32,
    images_dir: PathBuf,
    memory_bytes: u64,
    ledger: Mutex<Ledger>,
}

/// What changes while an agent lives.
#[derive(Debug)]
struct Ledger {
    leases: Leases,
    runs: HashMap<Uuid, LiveRun>,
    attempts: HashMap<Uuid, u64>,
}

/// A run that has a supervisor, or that could not be removed yet.
#[derive(Debug)]
struct LiveRun {
    line: Arc<AsyncMutex<OwnedWriteHalf>>,
    resources: RunResources,
}

impl Agent {
    /// Prepares `state` and reaps what earlier agents left.
    ///
    /// # Errors
    /// When the node can't run anything or something of an earlier run can't be removed.
    pub fn open(state: &Path) -> Result<Self, Fault> {
        fs::create_dir_all(state).doing("making the agent's state")?;
        fs::set_permissions(state, fs::Permissions::from_mode(0o700)).doing("its mode")?;
        let cgroups = Cgroups::detect()?;
        let instance = reaper::instance(state, &System)?;
        let parent = format!("{PARENT_PREFIX}{instance}");
        let mut leases = Leases::open(&reaper::leases_path(state))?;
        for run in reaper::reap_all(&cgroups, &parent, &mut leases, &System)? {
            tracing::info!(%run, "reaped what was left of an earlier run");
        }
        let salt = u32::from_str_radix(&instance[..8], 16).doing("reading this agent's name")?;
        let images_dir = state.join("images");
        ImageStore::open(&images_dir).doing("opening the node's images")?;
        Ok(Self {
            cgroups,
            parent,
            salt,
            images_dir,
            memory_bytes: doctor::capabilities().memory_bytes,
            ledger: Mutex::new(Ledger { leases, runs: HashMap::new(), attempts: HashMap::new() }),
        })
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn answer(self: &Arc<Self>, request: AgentRequest) -> Result<AgentReply, Fault> {
        match request {
            AgentRequest::Hello { version } if version == PROTOCOL_VERSION => {
                Ok(AgentReply::Hello { version: PROTOCOL_VERSION })
            }
            AgentRequest::Hello { version } => {
                let message =
                    format!("this agent speaks version {PROTOCOL_VERSION}, not {version}");
                Err(Fault::service(message))
            }
            AgentRequest::Start(ticket) => {
                self.start(*ticket).await?;
                Ok(AgentReply::Done)
            }
            AgentRequest::Cancel { run, grace_ms } => {
                self.cancel(run, grace_ms).await;
                Ok(AgentReply::Done)
            }
            AgentRequest::List => {
                let mut runs: Vec<Uuid> = self.ledger().leases.runs();
                runs.sort();
                Ok(AgentReply::Runs { runs })
            }
            AgentRequest::Capabilities => Ok(AgentReply::Capabilities(doctor::capabilities())),
            AgentRequest::Images => {
                self.with_images(|store| {
                    let images = store.list().doing("listing images")?;
                    let engines = store.engines().doing("listing engines")?;
                    Ok(AgentReply::Images { images, engines })
                })
                .await
            }
            AgentRequest::ImportImage { layout, name } => {
                self.with_images(move |store| {
                    let record = store.import(&layout, &name).doing("importing the image")?;
                    Ok(AgentReply::Imported(record))
                })
                .await
            }
            AgentRequest::AddEngine { language, layout } => {
                self.with_images(move |store| {
                    let name = format!("engine-{}:current", format!("{language:?}").to_lowercase());
                    let record = store.import(&layout, &name).doing("importing the engine")?;
                    store.set_engine(language, &record.digest).doing("recording the engine")?;
                    Ok(AgentReply::Imported(record))
                })
                .await
            }
        }
    }

    async fn with_images<F>(&self, act: F) -> Result<AgentReply, Fault>
    where
        F: FnOnce(&ImageStore) -> Result<AgentReply, Fault> + Send + 'static,
    {
        let dir = self.images_dir.clone();
        tokio::task::spawn_blocking(move || {
            act(&ImageStore::open(&dir).doing("opening the node's images")?)
        })
        .await
        .doing("a thread")?
    }

    async fn cancel(&self, run: Uuid, grace_ms: u64) {
        let line = self.ledger().runs.get(&run).map(|live| Arc::clone(&live.line));
        let Some(line) = line else { return };
        let order = SupervisorOrder::Cancel { grace_ms };
        let mut text = serde_json::to_vec(&order).expect("a number is always JSON");
        text.push(b'\n');
        // A supervisor that is gone has ended its run already.
        let _ = line.lock().await.write_all(&text).await;
    }
}

/// Serves until SIGTERM or SIGINT; every run ends with the agent.
///
/// # Errors
/// When the node can't run anything or the socket can't be made.
pub fn main(args: &AgentArgs) -> Result<(), Fault> {
    // A launcher that takes signals in its own time hands its mask down.
    nix::sys::signal::SigSet::all().thread_unblock().doing("letting signals through")?;
    if args.die_with_parent {
        let parent = nix::unistd::getppid();
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM)
            .doing("asking for the parent's death signal")?;
        if nix::unistd::getppid() != parent {
            return Ok(());
        }
    }
    // One thread: supervisors are forked from the main one, which lives as long as the process.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .doing("starting the runtime")?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    fs::write("/proc/self/oom_score_adj", "-900").ok();
    let agent = Arc::new(Agent::open(&args.state)?);
    let _ = fs::remove_file(&args.socket);
    runtime.block_on(async {
        let listener = UnixListener::bind(&args.socket).doing("making the agent's socket")?;
        chown(&args.socket, Some(args.server_uid), None).doing("the socket's owner")?;
        fs::set_permissions(&args.socket, fs::Permissions::from_mode(0o600)).doing("its mode")?;
        tracing::info!(socket = %args.socket.display(), "the agent is ready");
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
                .doing("hearing signals")?;
        let mut interrupt =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
                .doing("hearing signals")?;
        tokio::select! {
            () = serve(Arc::clone(&agent), listener, args.server_uid) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let _ = fs::remove_file(&args.socket);
        agent.end_all().await;
        Ok(())
    })
}

async fn serve(agent: Arc<Agent>, listener: UnixListener, server_uid: u32) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let allowed = stream.peer_cred().is_ok_and(|peer| [0, server_uid].contains(&peer.uid()));
        if !allowed {
            tracing::warn!("a connection of another uid was refused");
            continue;
        }
        tokio::spawn(converse(Arc::clone(&agent), stream));
    }
}

async fn converse(agent: Arc<Agent>, mut stream: UnixStream) {
    let mut greeted = false;
    while let Ok(Some((request, _))) = read_frame::<_, AgentRequest>(&mut stream).await {
        let hello = matches!(request, AgentRequest::Hello { .. });
        let reply = if greeted || hello {
            let answered = agent.answer(request).await;
            greeted |= hello && answered.is_ok();
            answered.unwrap_or_else(|fault| AgentReply::Refused { reason: fault.message })
        } else {
            AgentReply::Refused { reason: "the first frame must be a hello".to_owned() }
        };
        if write_frame(&mut stream, &reply, &[]).await.is_err() {
            return;
        }
    }
}
