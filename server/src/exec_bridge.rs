//! Serves the run conversation on a unix socket: translation between frames and the traits of
//! `readvault_exec_protocol`, and nothing else. The token decides what a peer may ask; who may connect at
//! all is checked first (SO_PEERCRED).

mod connection;
#[cfg(test)]
mod tests;

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use readvault_exec_protocol::{sink::OutputSink, source::ReadSetSource};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::JoinSet,
};

/// Uids that runs are given: the agent's pool.
const RUN_UIDS: std::ops::RangeInclusive<u32> = 1_879_048_192..=2_147_352_575;

/// Connections at once: a supervisor and a few of the mount's, for each of many runs.
const CONNECTIONS_MAX: usize = 1024;

/// The run conversation over a source and a sink. Cheap to clone.
#[derive(Clone)]
pub struct ExecBridge {
    source: Arc<dyn ReadSetSource>,
    sink: Arc<dyn OutputSink>,
    own_uid: u32,
}

impl std::fmt::Debug for ExecBridge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecBridge").field("own_uid", &self.own_uid).finish_non_exhaustive()
    }
}

impl ExecBridge {
    /// The conversation that `runs` answers.
    pub fn new<R: ReadSetSource + OutputSink + 'static>(runs: Arc<R>) -> Self {
        let own_uid = nix::unistd::geteuid().as_raw();
        Self { source: runs.clone(), sink: runs, own_uid }
    }

    /// Listens on `path`, in place of a socket that an earlier process left. The mount process of a run
    /// has the run's own uid, so anybody may connect; [`ExecBridge::serve`] hangs up on strangers, and no
    /// task ever sees the path.
    ///
    /// # Errors
    /// Those of the file system; `AddrInUse` when `path` is no socket.
    pub fn bind(path: &Path) -> io::Result<UnixListener> {
        use std::os::unix::fs::FileTypeExt;
        match fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(cause),
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
        Ok(listener)
    }

    /// Serves until the future is dropped, which ends every conversation; runs connect again.
    pub async fn serve(self, listener: UnixListener) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut conversations = JoinSet::new();
        loop {
            while conversations.try_join_next().is_some() {}
            let Ok(permit) = room.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) if self.admits(&stream) => {
                    let bridge = self.clone();
                    conversations.spawn(async move {
                        connection::converse(&bridge, stream).await;
                        drop(permit);
                    });
                }
                Ok(_) => tracing::warn!("a stranger spoke to the socket of runs"),
                Err(cause) => {
                    tracing::warn!(%cause, "a run could not connect");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Root (supervisors), this server's own uid, and the uids of runs.
    fn admits(&self, stream: &UnixStream) -> bool {
        stream.peer_cred().is_ok_and(|peer| {
            let uid = peer.uid();
            uid == 0 || uid == self.own_uid || RUN_UIDS.contains(&uid)
        })
    }
}
