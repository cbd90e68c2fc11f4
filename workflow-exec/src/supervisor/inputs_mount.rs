//! The run's mount of large inputs: made here, served by `readvault-exec mount` under a uid of its own.
//!
//! The serving process holds no key and reaches the server through a relay of ours, so that the server's
//! socket can stay closed to every uid but root's and its own. No thread that forks or watches tasks ever
//! waits for that mount before it has answered the kernel:
//! a thread that waits for a process that it must itself start or end waits for ever.

use std::{
    fs::{self, OpenOptions},
    os::{
        fd::AsRawFd,
        unix::fs::{PermissionsExt, chown},
    },
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};

use nix::mount::{MntFlags, MsFlags, umount2};
use readvault_exec_protocol::run::InputSpec;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines, copy_bidirectional},
    net::{UnixListener, UnixStream},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use super::{
    SuperviseOrder,
    files::{RunFiles, SAFE, plain_mount},
};
use crate::{
    fault::{Because, Doing, FailureReason, Fault},
    lease::RANGE,
};

/// How long the serving process may take to answer the kernel.
const READY_MAX: Duration = Duration::from_secs(30);

/// Kilobytes that the kernel reads ahead: doubles the speed of sequential reads.
const READ_AHEAD_KB: &str = "1024";

/// A mount that is being served.
#[derive(Debug)]
pub(super) struct InputsMount {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl InputsMount {
    /// Mounts, starts the serving process, waits for it and shows `inputs` where containers expect them.
    /// Forks on the calling thread.
    ///
    /// # Errors
    /// When the mount is refused or the process does not answer in time.
    pub(super) async fn start(
        files: &RunFiles,
        order: &SuperviseOrder,
        inputs: &[&InputSpec],
    ) -> Result<Self, Fault> {
        let relay = relay(files, order.ticket.server.clone())?;
        let point = files.control("fuse");
        fs::create_dir_all(&point).doing("making the mount point of inputs")?;
        let fuse = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .doing("opening /dev/fuse")
            .because(FailureReason::ImportFailed)?;
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions",
            fuse.as_raw_fd()
        );
        let flags = SAFE | MsFlags::MS_RDONLY | MsFlags::MS_NOEXEC;
        let name = format!("readvault-{}", files.run);
        plain_mount(Some(&name), &point, Some("fuse"), flags, Some(&options))
            .doing("mounting the inputs")?;
        let uid = files.uid + (RANGE - 1);
        let mut child = Command::new("/proc/self/exe")
            .arg("mount")
            .arg("--server")
            .arg(&relay)
            .env_clear()
            .env("READVAULT_RUN_TOKEN", &order.ticket.token)
            .current_dir("/")
            // The only copy after this: another would keep readers of a dead mount waiting.
            .stdin(Stdio::from(fuse))
            .stdout(Stdio::piped())
            .uid(uid)
            .gid(uid)
            .kill_on_drop(true)
            .spawn()
            .doing("starting the mount process")?;
        let stdout = child.stdout.take().ok_or_else(|| Fault::service("no line to the mount"))?;
        let mut lines = BufReader::new(stdout).lines();
        match timeout(READY_MAX, lines.next_line()).await {
            Ok(Ok(Some(line))) if line == "ready" => {}
            _ => {
                abort(files);
                let message = "the process that serves large inputs did not start";
                return Err(Fault::new(FailureReason::ImportFailed, message));
            }
        }
        read_ahead(&point);
        show(files, &point, inputs).await?;
        Ok(Self { child, lines })
    }

    /// Whether every read so far was answered with the input's bytes.
    pub(super) async fn is_whole(&mut self) -> bool {
        // It says `lost`, or ends; as long as it says nothing all is well.
        let silent = timeout(Duration::from_millis(1), self.lines.next_line()).await.is_err();
        silent && matches!(self.child.try_wait(), Ok(None))
    }
}

/// Ends every wait for the mount; before anything is frozen or killed. Harmless without one.
pub(super) fn abort(files: &RunFiles) {
    // EBUSY is usual: the connection is ended all the same.
    let _ = umount2(&files.control("fuse"), MntFlags::MNT_FORCE | MntFlags::UMOUNT_NOFOLLOW);
}

/// Binds each input's directory of the mount over its place among the inputs.
async fn show(files: &RunFiles, point: &Path, inputs: &[&InputSpec]) -> Result<(), Fault> {
    let mut digests: Vec<String> = inputs.iter().map(|input| input.digest.clone()).collect();
    digests.sort();
    digests.dedup();
    let place = files.view().join("mnt/workflow/in");
    for digest in digests {
        let dir = files.inputs().join(&digest);
        fs::create_dir_all(&dir).doing("making an input's directory")?;
        let (source, target) = (point.join(&digest), place.join(&digest));
        // A thread of its own: the kernel asks the serving process about this name.
        tokio::task::spawn_blocking(move || {
            let source = source.to_string_lossy().into_owned();
            plain_mount(Some(&source), &target, None, MsFlags::MS_BIND, None)
        })
        .await
        .doing("a thread")?
        .doing("showing an input")
        .because(FailureReason::ImportFailed)?;
    }
    Ok(())
}

fn read_ahead(point: &Path) {
    let listed = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let point = point.to_string_lossy();
    let line = listed.lines().find(|line| line.split(' ').nth(4) == Some(point.as_ref()));
    if let Some(device) = line.and_then(|line| line.split(' ').nth(2)) {
        // Slower without, nothing more.
        let _ = fs::write(format!("/sys/class/bdi/{device}/read_ahead_kb"), READ_AHEAD_KB);
    }
}

/// Carries bytes between the mount process and the server, on a thread of its own that forks nothing and
/// touches no file of the run.
fn relay(files: &RunFiles, server: PathBuf) -> Result<PathBuf, Fault> {
    let dir = files.control("relay");
    fs::create_dir_all(&dir).doing("making the relay's directory")?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o711)).doing("its mode")?;
    let path = dir.join("server.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).doing("making the relay")?;
    let uid = files.uid + (RANGE - 1);
    chown(&path, Some(uid), Some(uid)).doing("the relay's owner")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).doing("the relay's mode")?;
    listener.set_nonblocking(true).doing("the relay")?;
    thread::Builder::new()
        .name("relay".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            if let Ok(runtime) = runtime {
                runtime.block_on(carry(listener, server));
            }
        })
        .doing("starting the relay")?;
    Ok(path)
}

async fn carry(listener: std::os::unix::net::UnixListener, server: PathBuf) {
    let Ok(listener) = UnixListener::from_std(listener) else { return };
    while let Ok((mut near, _)) = listener.accept().await {
        let server = server.clone();
        tokio::spawn(async move {
            // A server that is away shows as an ended connection, which the mount process retries.
            if let Ok(mut far) = UnixStream::connect(server).await {
                let _ = copy_bidirectional(&mut near, &mut far).await;
            }
        });
    }
}
