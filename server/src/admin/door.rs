//! The socket of administrators: who may connect, one command a connection, a line in the log for each.

use std::{io, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use readvault_exec_protocol::frame::{read_frame, write_frame};
use readvault_ops::{
    Fault, FaultKind,
    authorize::{Ask as PermitAsk, Authorizer},
    identity::{Caller, Principal},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

use super::{
    Answer, Ask, Call, Desk,
    protocol::{Refusal, Reply, Request, SOCKET, VERSION},
};

/// Commands at once.
const COMMANDS_MAX: usize = 16;

/// Time in which a client must send its request.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// Notes of progress that wait for a slow client; more are left out.
const PROGRESS_MAX: usize = 16;

/// Listens for administrators until it is dropped.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    desk: Desk,
    authorizer: Authorizer,
    own_uid: u32,
}

impl Door {
    /// Listens in the data directory of `desk` (mode 0600), in place of a socket that an earlier process
    /// left. The caller holds the vault open, so no live server's socket is taken away.
    ///
    /// # Errors
    /// Those of the file system; `AddrInUse` when something that is no socket has the name.
    pub fn open(desk: Desk, authorizer: Authorizer) -> io::Result<Self> {
        let path = desk.data.join(SOCKET);
        clear(&path)?;
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let own_uid = nix::unistd::geteuid().as_raw();
        Ok(Self { listener, desk, authorizer, own_uid })
    }

    /// Serves until the future is dropped, which cuts every command off.
    pub async fn serve(self) {
        let door = Arc::new(self);
        let room = Arc::new(Semaphore::new(COMMANDS_MAX));
        let mut commands = JoinSet::new();
        loop {
            while commands.try_join_next().is_some() {}
            let Ok(place) = room.clone().acquire_owned().await else { return };
            match door.listener.accept().await {
                Ok((stream, _)) => {
                    let door = door.clone();
                    commands.spawn(async move {
                        let _place = place;
                        door.attend(stream).await;
                    });
                }
                Err(cause) => {
                    tracing::warn!(%cause, "an administrator could not connect");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Serves one connection: root or this server's own user only.
    async fn attend(&self, mut stream: UnixStream) {
        let uid = match stream.peer_cred() {
            Ok(peer) if peer.uid() == 0 || peer.uid() == self.own_uid => peer.uid(),
            _ => return tracing::warn!("a stranger spoke to the socket of administrators"),
        };
        let request = tokio::time::timeout(REQUEST_MAX, read_frame::<_, Request>(&mut stream));
        let reply = match request.await {
            Ok(Ok(Some((request, _)))) if request.version == VERSION => {
                self.carry_out(&mut stream, uid, &request.ask).await
            }
            Ok(Ok(None)) | Err(_) => return,
            Ok(Ok(Some(_))) | Ok(Err(_)) => Some(Reply::Refused(Refusal {
                code: 10,
                message: "the server does not know this command: it is of another version than \
                          this program"
                    .into(),
                cause: None,
            })),
        };
        if let Some(reply) = reply {
            let _ = write_frame(&mut stream, &reply, &[]).await;
        }
    }

    /// Does what is asked and writes its line of the log; none when the client went away.
    async fn carry_out(&self, stream: &mut UnixStream, uid: u32, ask: &Ask) -> Option<Reply> {
        let (clock, action) = (self.desk.core.clock(), ask.command().action());
        let began = clock.monotonic();
        let outcome = self.run(stream, uid, ask).await;
        let took = clock.monotonic().saturating_sub(began);
        let error = match &outcome {
            None => "the client went away".to_owned(),
            Some(Ok(_)) => String::new(),
            Some(Err(fault)) => format!("{:?}", fault.kind),
        };
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(target: "request", api = "admin", operation = action, uid, error, took_ms);
        Some(match outcome? {
            Ok(Answer { text, value }) => Reply::Done { text, value },
            Err(fault) => Reply::Refused(refusal(&fault)),
        })
    }

    async fn run(
        &self,
        stream: &mut UnixStream,
        uid: u32,
        ask: &Ask,
    ) -> Option<Result<Answer, Fault>> {
        let command = ask.command();
        let caller = Caller {
            principal: Principal::Root,
            via_service: Some("admin.sock"),
            ..Caller::anonymous()
        };
        let asks = [PermitAsk::new(command.action(), "*")];
        let permit = match self.authorizer.authorize(&caller, &asks) {
            Ok(permit) => permit,
            Err(refused) => return Some(Err(refused)),
        };
        let (progress, events) = mpsc::channel(PROGRESS_MAX);
        let call = Call { permit, uid, progress };
        let (mut from, mut to) = stream.split();
        attended(command.run(&self.desk, &call), events, (&mut from, &mut to)).await
    }
}

/// The outcome of `work`, whose progress goes to the client; none when that went away first.
async fn attended<T>(
    work: impl Future<Output = T>,
    mut events: mpsc::Receiver<super::Progress>,
    (from, to): (&mut (impl AsyncRead + Unpin), &mut (impl AsyncWrite + Unpin)),
) -> Option<T> {
    tokio::pin!(work);
    let mut byte = [0];
    loop {
        tokio::select! {
            outcome = &mut work => return Some(outcome),
            Some(progress) = events.recv() => {
                write_frame(to, &Reply::Progress(progress), &[]).await.ok()?;
            }
            // A client says nothing after its request: whatever comes is its end.
            _ = from.read(&mut byte) => return None,
        }
    }
}

/// Removes a socket that an earlier process left.
fn clear(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path),
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(cause),
    }
}

fn refusal(fault: &Fault) -> Refusal {
    let mut causes = Vec::new();
    let mut next = std::error::Error::source(fault);
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    Refusal {
        code: code(fault.kind),
        message: fault.message.to_string(),
        cause: (!causes.is_empty()).then(|| causes.join(": ")),
    }
}

/// Exit status by what is wrong: 2 usage, 3 not found, 4 not allowed, 5 refused as things stand,
/// 6 keys or bytes, 7 try again, 8 no room, 1 otherwise.
fn code(kind: FaultKind) -> u8 {
    match kind {
        FaultKind::InvalidArgument => 2,
        FaultKind::NotFound | FaultKind::NoSuchBucket | FaultKind::NoSuchKey => 3,
        FaultKind::AccessDenied | FaultKind::Unauthenticated => 4,
        FaultKind::Immutable
        | FaultKind::Conflict
        | FaultKind::InvalidState
        | FaultKind::PreconditionFailed => 5,
        FaultKind::Corrupt | FaultKind::KeyUnavailable => 6,
        FaultKind::SlowDown => 7,
        FaultKind::QuotaExceeded | FaultKind::InsufficientStorage => 8,
        _ => 1,
    }
}
