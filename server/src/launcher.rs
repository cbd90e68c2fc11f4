//! What people start with `serve --dev` as root: a keyless parent of two processes.
//!
//! The server (a user id of its own, no capabilities, keys) and the agent (root, no keys) are siblings.
//! Whichever dies is started again; the death of this process ends the server at once and lets the agent
//! destroy what runs. One thread, no runtime: the death signal of a child follows the *thread* that
//! started it.

use std::{
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::{
        signal::{SigSet, Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, Uid},
};

use crate::settings::Serve;

/// Time between two looks at children and signals.
const LOOK: Duration = Duration::from_millis(50);

/// Time a child gets to end by itself, a little more than the server's drain.
const END: Duration = Duration::from_secs(35);

/// The allocator's variable, and the milliseconds after which it gives free memory back: long enough that the
/// megabytes of one chunk serve the next.
const PURGE_DELAY: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "100");

/// Starts within this time after the last count as a crash loop.
const QUICK: Duration = Duration::from_secs(5);

/// Quick deaths of one child in a row after which the whole is ended.
const QUICK_DEATHS_MAX: u32 = 5;

/// Whether this process may start agent and server beside each other.
#[must_use]
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// Where the sockets and state of one data directory's agent stand: outside the data, root's own.
///
/// # Errors
/// When the data directory can't be named.
pub fn runtime_of(data: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(data).context("the data directory can't be read")?;
    Ok(PathBuf::from(format!("/run/readvault-{:x}-{:x}", meta.dev(), meta.ino())))
}

/// Where the agent of one data directory keeps images, engines and leases: root's own, never mounted from
/// what the server can write.
///
/// # Errors
/// When the data directory can't be named.
pub fn agent_state_of(data: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(data).context("the data directory can't be read")?;
    Ok(PathBuf::from(format!("/var/lib/readvault-exec/{:x}-{:x}", meta.dev(), meta.ino())))
}

/// Path of the program `name` that stands beside this one.
///
/// # Errors
/// When it is not there.
pub fn beside(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("this program's own path is unknown")?;
    let path = own.with_file_name(name);
    if !path.exists() {
        bail!("{name} is missing: it must stand beside readvaultd ({})", path.display());
    }
    Ok(path)
}

/// Runs agent and server until SIGTERM or SIGINT, or until one can't be kept alive.
///
/// # Errors
/// When the data directory can't be prepared or a child can't be started.
pub fn run(settings: &Serve) -> Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block().context("signals can't be blocked")?;
    let places = prepare(settings)?;
    let mut agent = Kept::start("agent", || start_agent(settings, &places))?;
    let mut server = Kept::start("server", || start_server(settings, &places))?;
    let outcome = watch(&signals, &mut agent, &mut server);
    // Runs report their end to the server, so the agent, which ends them, goes first.
    agent.end();
    server.end();
    outcome
}

struct Places {
    runtime: PathBuf,
    agent_state: PathBuf,
}

fn prepare(settings: &Serve) -> Result<Places> {
    std::fs::create_dir_all(&settings.data).context("the data directory can't be made")?;
    give(&settings.data, settings.uid)?;
    let (runtime, agent_state) = (runtime_of(&settings.data)?, agent_state_of(&settings.data)?);
    std::fs::create_dir_all(&runtime).context("the runtime directory can't be made")?;
    chown(&runtime, Some(settings.uid), Some(settings.uid))?;
    std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o711))?;
    std::fs::create_dir_all(&agent_state).context("the agent's directory can't be made")?;
    std::fs::set_permissions(&agent_state, std::fs::Permissions::from_mode(0o700))?;
    Ok(Places { runtime, agent_state })
}

/// Gives a directory and all that it holds to the server's user.
fn give(path: &Path, uid: u32) -> Result<()> {
    use std::os::unix::fs::{MetadataExt, lchown};
    let meta = std::fs::symlink_metadata(path)?;
    if meta.uid() != uid {
        lchown(path, Some(uid), Some(uid)).context("the data directory can't change owner")?;
    }
    if meta.is_dir() {
        for entry in std::fs::read_dir(path)? {
            give(&entry?.path(), uid)?;
        }
    }
    Ok(())
}

fn start_agent(settings: &Serve, places: &Places) -> Result<Child> {
    Command::new(beside("readvault-exec")?)
        .arg("agent")
        .arg("--state")
        .arg(&places.agent_state)
        .arg("--socket")
        .arg(places.runtime.join("agent.sock"))
        .arg("--server-uid")
        .arg(settings.uid.to_string())
        .arg("--die-with-parent")
        .stdin(Stdio::null())
        .spawn()
        .context("the agent can't be started")
}

fn start_server(settings: &Serve, places: &Places) -> Result<Child> {
    let own = std::env::current_exe().context("this program's own path is unknown")?;
    // The settings travel as this process got them; what is added only says where things are.
    Command::new(own)
        .args(std::env::args_os().skip(1))
        .arg("--launched")
        .arg("--agent")
        .arg(places.runtime.join("agent.sock"))
        .arg("--runtime")
        .arg(&places.runtime)
        .arg("--uid")
        .arg(settings.uid.to_string())
        .env(PURGE_DELAY.0, std::env::var_os(PURGE_DELAY.0).unwrap_or_else(|| PURGE_DELAY.1.into()))
        .stdin(Stdio::null())
        .spawn()
        .context("the server can't be started")
}

/// A child that is started again when it dies.
struct Kept<'a> {
    name: &'static str,
    child: Child,
    begun: Duration,
    quick_deaths: u32,
    start: Box<dyn Fn() -> Result<Child> + 'a>,
}

impl<'a> Kept<'a> {
    fn start(name: &'static str, start: impl Fn() -> Result<Child> + 'a) -> Result<Self> {
        Ok(Self { name, child: start()?, begun: now(), quick_deaths: 0, start: Box::new(start) })
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Starts the child again if `pid` was it. A server that ended by its own decision ends the whole.
    fn died(&mut self, pid: Pid, code: Option<i32>) -> Result<()> {
        if pid != self.pid() {
            return Ok(());
        }
        let quick = now().saturating_sub(self.begun) < QUICK;
        self.quick_deaths = if quick { self.quick_deaths + 1 } else { 0 };
        if code.is_some_and(|code| code != 101) || self.quick_deaths >= QUICK_DEATHS_MAX {
            bail!("the {} ended (exit code {code:?}); see its messages above", self.name);
        }
        eprintln!("readvaultd: the {} died and is started again", self.name);
        self.child = (self.start)()?;
        self.begun = now();
        Ok(())
    }

    fn end(&mut self) {
        let _ = kill(self.pid(), Signal::SIGTERM);
        let begun = now();
        while now().saturating_sub(begun) < END {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(LOOK);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn now() -> Duration {
    readvault_ambient::Clock::monotonic(&readvault_ambient::System)
}

fn watch(signals: &SigSet, agent: &mut Kept<'_>, server: &mut Kept<'_>) -> Result<()> {
    let signal = nix::sys::signalfd::SignalFd::with_flags(
        signals,
        nix::sys::signalfd::SfdFlags::SFD_NONBLOCK | nix::sys::signalfd::SfdFlags::SFD_CLOEXEC,
    )
    .context("signals can't be read")?;
    loop {
        if signal.read_signal().context("signals can't be read")?.is_some() {
            return Ok(());
        }
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => {
                agent.died(pid, Some(code))?;
                server.died(pid, Some(code))?;
            }
            Ok(WaitStatus::Signaled(pid, _, _)) => {
                agent.died(pid, None)?;
                server.died(pid, None)?;
            }
            _ => std::thread::sleep(LOOK),
        }
    }
}
