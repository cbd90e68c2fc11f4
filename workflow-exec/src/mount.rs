//! `readvault-exec mount`: a run's inputs as files of a read-only file system.
//!
//! A keyless process asks the server for ranges over the run conversation and serves them to the
//! kernel, whose page cache does most of the work. The files are `DIGEST/NAME`, as the run sees
//! them below `/mnt/workflow/in`. What a reader gets is right or an error: a server that is gone
//! for a minute, or that refuses, makes the mount *lost*, every read from then on fails with EIO,
//! and the supervisor is told, since a task may end with success all the same.
//!
//! A supervisor serves a mount of its own name space so:
//! 1. it opens `/dev/fuse` and mounts it (type `fuse`, `MS_NOSUID | MS_NODEV | MS_RDONLY`, options
//!    `fd=N,rootmode=40000,user_id=UID,group_id=GID,allow_other,default_permissions`, where UID and
//!    GID are those of the mount process);
//! 2. it starts `readvault-exec mount --server SOCKET` under that uid, in the run's service cgroup,
//!    with the descriptor as standard input, `READVAULT_RUN_TOKEN` in the environment and a pipe as
//!    standard output, and closes its own copy of the descriptor;
//! 3. it waits for the line `ready`; before that nothing may touch a path below the mount;
//! 4. the line `lost`, or the end of the pipe, means that the run must fail, whatever its exit
//!    codes say.

use std::{
    ffi::OsString,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    thread,
};

use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use nix::sys::{
    prctl,
    signal::{SigSet, Signal},
};
use readvault_ambient::{Clock, System};

mod access;
mod cache;
mod connection;
mod filesystem;
mod reader;
mod tree;

use connection::Server;
use filesystem::InputFiles;
use reader::Reader;
use tree::Tree;

/// Names the run's token where it must not stand among the arguments.
const TOKEN_VARIABLE: &str = "READVAULT_RUN_TOKEN";

/// Why a mount does not start.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The server does not answer, or refuses the token.
    #[error("the server does not give the run's inputs: {0}")]
    Server(String),
    /// An input has a name that cannot be a file's.
    #[error("an input cannot be shown as a file: {0}")]
    Name(String),
    /// The kernel refuses.
    #[error("the file system cannot be mounted")]
    Mount(#[from] io::Error),
}

/// What a mount needs to know.
#[derive(Clone, Debug)]
pub struct MountParams {
    /// The server's socket for run conversations.
    pub server: PathBuf,
    /// The run's token.
    pub token: String,
    /// Most bytes of ranges that are kept in this process.
    pub cache_bytes: usize,
    /// Threads that answer the kernel; also the most connections to the server.
    pub threads: usize,
    /// Milliseconds that a reader waits for a server that is away before the mount is lost.
    pub retry_ms: u64,
}

impl MountParams {
    /// The usual limits: 64 MiB, four threads, one minute.
    #[must_use]
    pub fn new(server: PathBuf, token: String) -> Self {
        Self { server, token, cache_bytes: 64 << 20, threads: 4, retry_ms: 60_000 }
    }
}

/// A mount that this process serves; unmounted when dropped.
#[derive(Debug)]
pub struct Mounted {
    session: Option<BackgroundSession>,
    server: Arc<Server>,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Threads that wait for the server would keep the session from ending.
        self.server.stop();
    }
}

impl Mounted {
    /// Whether a reader was given an error since the mount began.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.server.is_lost()
    }

    /// Unmounts and waits for the serving threads; readers that wait for the server get EIO.
    ///
    /// # Errors
    /// What the kernel says, such as EBUSY while a file is open.
    pub fn unmount(mut self) -> io::Result<()> {
        self.server.stop();
        self.session.take().map_or(Ok(()), BackgroundSession::umount_and_join)
    }
}

/// Mounts all inputs of the run at the directory `at` and serves them from threads of this process.
///
/// Root serves every user, anybody else only himself (through `fusermount3`). Returns once files
/// can be opened.
///
/// ```no_run
/// use std::{path::Path, sync::Arc};
/// use readvault_workflow_exec::mount::{MountParams, mount_files};
/// let params = MountParams::new("/run/readvault/run.sock".into(), "token".into());
/// let mounted = mount_files(Path::new("/mnt/in"), &params, Arc::new(readvault_ambient::System))?;
/// mounted.unmount()?;
/// # Ok::<(), readvault_workflow_exec::mount::MountError>(())
/// ```
///
/// # Errors
/// [`MountError`]; nothing is mounted then.
pub fn mount_files(
    at: &Path,
    params: &MountParams,
    clock: Arc<dyn Clock>,
) -> Result<Mounted, MountError> {
    let (files, server) = prepare(params, clock)?;
    let session = Session::new(files, at, &own_mount(params))?.spawn()?;
    Ok(Mounted { session: Some(session), server })
}

/// Serves all inputs of the run through `fuse`, a descriptor of `/dev/fuse` that somebody else
/// mounts, until that mount ends. `told` gets the line `ready` when the kernel was answered and
/// `lost` when a reader was given an error.
///
/// # Errors
/// [`MountError`].
pub fn serve(
    fuse: OwnedFd,
    params: &MountParams,
    clock: Arc<dyn Clock>,
    told: impl Write + Send + 'static,
) -> Result<(), MountError> {
    let (files, server) = prepare(params, clock)?;
    let mut config = Config::default();
    // No cloned descriptors: they fail with EACCES for an unprivileged server, after the handshake.
    config.n_threads = Some(params.threads.max(1));
    let session = Session::from_fd(files, fuse, SessionACL::All, config)?;
    tell(&server, told)?;
    Ok(session.run()?)
}

fn prepare(
    params: &MountParams,
    clock: Arc<dyn Clock>,
) -> Result<(InputFiles, Arc<Server>), MountError> {
    let server = Arc::new(Server::new(params, clock));
    let inputs = server.inputs().map_err(MountError::Server)?;
    let tree = Tree::new(&inputs).map_err(MountError::Name)?;
    let reader = Reader::new(Arc::clone(&server), params.cache_bytes);
    Ok((InputFiles::new(tree, reader), server))
}

fn own_mount(params: &MountParams) -> Config {
    let mut config = Config::default();
    config.n_threads = Some(params.threads.max(1));
    config.mount_options = vec![
        MountOption::FSName("readvault".into()),
        MountOption::Subtype("inputs".into()),
        MountOption::RO,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::NoExec,
        MountOption::DefaultPermissions,
    ];
    if nix::unistd::geteuid().is_root() {
        config.acl = SessionACL::All;
    }
    config
}

fn tell(server: &Arc<Server>, mut told: impl Write + Send + 'static) -> io::Result<()> {
    writeln!(told, "ready").and_then(|()| told.flush())?;
    let server = Arc::clone(server);
    thread::Builder::new().name("loss".into()).spawn(move || {
        server.wait_until_lost();
        // A supervisor that is gone has other means to end this process.
        let _ = writeln!(told, "lost").and_then(|()| told.flush());
    })?;
    Ok(())
}

/// Runs `mount --server SOCKET [--token TOKEN] [--at DIR]` with the arguments that follow `mount`.
///
/// With `--at` it mounts there itself and unmounts at SIGTERM or SIGINT. Without it, standard input
/// is the descriptor of `/dev/fuse` that the supervisor mounted; standard output gets the lines
/// `ready` and `lost` either way. The token is the value of `READVAULT_RUN_TOKEN` when `--token` is
/// missing. Must be called before any thread is started.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match command(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            let _ = writeln!(io::stderr(), "readvault-exec mount: {cause:#}");
            ExitCode::FAILURE
        }
    }
}

fn command(mut arguments: impl Iterator<Item = OsString>) -> anyhow::Result<()> {
    let (mut server, mut token, mut at) = (None, std::env::var_os(TOKEN_VARIABLE), None);
    while let Some(flag) = arguments.next() {
        let value = arguments.next();
        match flag.to_str() {
            Some("--server") => server = value,
            Some("--token") => token = value,
            Some("--at") => at = value,
            _ => anyhow::bail!("usage: mount --server SOCKET [--token TOKEN] [--at DIR]"),
        }
    }
    let (Some(server), Some(Ok(token))) = (server, token.map(OsString::into_string)) else {
        anyhow::bail!("--server and a token are needed");
    };
    let params = MountParams::new(server.into(), token);
    // The token must not end in a core file, nor be read by another process of this uid.
    prctl::set_dumpable(false)?;
    match at {
        Some(at) => foreground(Path::new(&at), &params),
        None => {
            prctl::set_no_new_privs()?;
            let fuse = io::stdin().as_fd().try_clone_to_owned()?;
            Ok(serve(fuse, &params, Arc::new(System), io::stdout())?)
        }
    }
}

fn foreground(at: &Path, params: &MountParams) -> anyhow::Result<()> {
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
    signals.thread_block()?;
    let (files, server) = prepare(params, Arc::new(System))?;
    let mut session = Session::new(files, at, &own_mount(params))?;
    let mut unmounter = session.unmount_callable();
    tell(&server, io::stdout())?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        while signals.wait().is_ok() {
            server.stop();
            if unmounter.unmount().is_ok() {
                return;
            }
        }
    })?;
    Ok(session.run()?)
}

#[cfg(test)]
mod tests;
