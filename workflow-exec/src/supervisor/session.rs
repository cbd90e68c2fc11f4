//! The supervisor's conversation with the server: one request at a time, reconnecting for a minute.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use readvault_ambient::{Clock, System};
use readvault_exec_protocol::{
    PROTOCOL_VERSION,
    frame::{read_frame, write_frame},
    run::{RunReply, RunRequest},
};
use tokio::{
    net::UnixStream,
    sync::{Mutex, watch},
    time::{sleep, timeout},
};

use crate::fault::Fault;

/// How long a server may be away before the run is lost.
const AWAY_MAX: Duration = Duration::from_secs(60);

/// How long a server may be away once the run has been ended from outside: then node and server most
/// likely go down together, and nobody must wait for the words of the run.
const AWAY_ENDING_MAX: Duration = Duration::from_secs(5);

/// How long one answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(120);

/// A connection to the server, shared by everything in the supervisor.
#[derive(Clone, Debug)]
pub(super) struct Session {
    inner: Arc<Mutex<Link>>,
    lost: Arc<watch::Sender<Option<String>>>,
    /// When the run was ended from outside, by the monotonic clock.
    ending: Arc<OnceLock<Duration>>,
}

#[derive(Debug)]
struct Link {
    socket: PathBuf,
    token: String,
    stream: Option<UnixStream>,
}

enum Trouble {
    /// The connection broke: try again.
    Broken(String),
    /// The server has spoken.
    Refused { reason: String, fatal: bool },
}

impl Session {
    /// A session that has not connected yet. `lost` hears why the run is lost, once it is.
    pub(super) fn new(socket: PathBuf, token: String, lost: watch::Sender<Option<String>>) -> Self {
        let link = Link { socket, token, stream: None };
        Self { inner: Arc::new(Mutex::new(link)), lost: Arc::new(lost), ending: Arc::default() }
    }

    /// Notes that the run is being ended from outside: from now on a server that is away is waited for only
    /// a little.
    pub(super) fn hurry(&self) {
        let _ = self.ending.set(System.monotonic());
    }

    /// Sends one request and gives its reply; repeats it over a new connection when the old one breaks, for
    /// a minute. Only for requests that may arrive twice.
    ///
    /// # Errors
    /// When the server refuses, or is away for longer; a fatal refusal and a long absence mark the run as
    /// lost.
    pub(super) async fn ask(
        &self,
        request: &RunRequest,
        payload: &[u8],
    ) -> Result<(RunReply, Bytes), Fault> {
        let begun = System.monotonic();
        loop {
            let trouble = match self.inner.lock().await.exchange(request, payload).await {
                Ok(answer) => return Ok(answer),
                Err(trouble) => trouble,
            };
            match trouble {
                Trouble::Refused { reason, fatal } => return Err(self.refused(reason, fatal)),
                Trouble::Broken(cause) if self.away_too_long(begun) => {
                    return Err(self.refused(format!("the server is away: {cause}"), true));
                }
                Trouble::Broken(_) => sleep(Duration::from_millis(250)).await,
            }
        }
    }

    fn away_too_long(&self, begun: Duration) -> bool {
        let now = System.monotonic();
        let ending = self.ending.get().is_some_and(|since| now - *since > AWAY_ENDING_MAX);
        ending || now - begun > AWAY_MAX
    }

    /// Sends one request once; a broken connection is an error.
    ///
    /// # Errors
    /// When the server refuses or the connection breaks.
    pub(super) async fn ask_once(
        &self,
        request: &RunRequest,
        payload: &[u8],
    ) -> Result<(RunReply, Bytes), Fault> {
        match self.inner.lock().await.exchange(request, payload).await {
            Ok(answer) => Ok(answer),
            Err(Trouble::Refused { reason, fatal }) => Err(self.refused(reason, fatal)),
            Err(Trouble::Broken(cause)) => Err(Fault::service(cause)),
        }
    }

    /// Tells the server something and wants no more than its consent.
    ///
    /// # Errors
    /// As [`Session::ask`].
    pub(super) async fn tell(&self, request: &RunRequest, payload: &[u8]) -> Result<(), Fault> {
        self.ask(request, payload).await.map(drop)
    }

    fn refused(&self, reason: String, fatal: bool) -> Fault {
        if fatal {
            self.lost.send_if_modified(|lost| {
                let first = lost.is_none();
                if first {
                    *lost = Some(reason.clone());
                }
                first
            });
        }
        Fault::service(reason)
    }
}

impl Link {
    async fn exchange(
        &mut self,
        request: &RunRequest,
        payload: &[u8],
    ) -> Result<(RunReply, Bytes), Trouble> {
        // A future that is dropped half-way must not leave a half-read stream behind.
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        let answer = converse(&mut stream, request, payload).await?;
        self.stream = Some(stream);
        match answer {
            (RunReply::Refused { reason, fatal }, _) => Err(Trouble::Refused { reason, fatal }),
            answer => Ok(answer),
        }
    }

    async fn connect(&self) -> Result<UnixStream, Trouble> {
        let mut stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|cause| Trouble::Broken(cause.to_string()))?;
        let hello = RunRequest::Hello { version: PROTOCOL_VERSION, token: self.token.clone() };
        match converse(&mut stream, &hello, &[]).await? {
            (RunReply::Refused { reason, .. }, _) => Err(Trouble::Refused { reason, fatal: true }),
            _ => Ok(stream),
        }
    }
}

async fn converse(
    stream: &mut UnixStream,
    request: &RunRequest,
    payload: &[u8],
) -> Result<(RunReply, Bytes), Trouble> {
    let talk = async {
        write_frame(stream, request, payload).await?;
        read_frame(stream).await
    };
    match timeout(ANSWER_MAX, talk).await {
        Ok(Ok(Some(answer))) => Ok(answer),
        Ok(Ok(None)) => Err(Trouble::Broken("the connection ended".to_owned())),
        Ok(Err(cause)) => Err(Trouble::Broken(cause.to_string())),
        Err(_) => Err(Trouble::Broken("no answer".to_owned())),
    }
}
