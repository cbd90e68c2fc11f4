//! The accept loop: limits, TLS, request records, the choice of API, and an orderly end.
//!
//! Layers, outermost first: limits → request record → choice of API → gate → handler. The gate belongs to
//! each API, as signatures differ.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use http::{HeaderValue, Request, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{setsockopt, sockopt::TcpUserTimeout};
use readvault_ambient::{Clock, Entropy};
use readvault_store::usage::Usage;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

pub mod admission;
pub mod api;
mod patience;
pub mod recorded;

use patience::Patient;
pub use patience::{BODY_BYTES_MIN, BODY_WAIT};

/// Time in which a client must send its request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Most header fields of a request.
const FIELDS_MAX: usize = 100;

/// Bytes that a connection reads ahead of its request's handler.
const BUFFER_BYTES_MAX: usize = 128 << 10;

/// Most connections at once by default. A few more are taken to tell their clients to come again, and for
/// the server's own paths.
pub const CONNECTIONS_MAX: usize = 4096;

/// Connections beyond that; others wait in the listener's backlog.
const SPARE_CONNECTIONS: usize = 64;

/// Time in which the client of such a connection must send its request's head.
const SPARE_TIMEOUT: Duration = Duration::from_secs(2);

/// Time after which a connection is closed whose client takes none of the bytes that were sent.
const SEND_TIMEOUT: Duration = Duration::from_secs(120);

/// Time that requests in flight get after SIGTERM.
pub const DRAIN: Duration = Duration::from_secs(30);

/// Everything behind the front door: one service, whatever the API. Its error closes the connection.
pub type Handler = tower::util::BoxCloneSyncService<Request<Body>, Response, Broken>;

/// An answer that must not look whole: the connection is closed.
#[derive(Debug, thiserror::Error)]
#[error("an answer was broken off")]
pub struct Broken(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// What the front door needs.
#[derive(Clone)]
pub struct FrontDoor {
    /// The APIs.
    pub handler: Handler,
    /// Tells the time of records.
    pub clock: Arc<dyn Clock>,
    /// Makes request ids.
    pub entropy: Arc<dyn Entropy>,
    /// Present when the port speaks TLS.
    pub tls: Option<TlsAcceptor>,
    /// Places for connections.
    pub connections: Connections,
}

/// Places for connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Connections {
    free: Arc<Semaphore>,
    spare: Arc<Semaphore>,
    limit: usize,
}

impl Connections {
    /// `limit` places, and a few to spare.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let free = Arc::new(Semaphore::new(limit));
        Self { free, spare: Arc::new(Semaphore::new(SPARE_CONNECTIONS)), limit }
    }

    /// How many places are taken.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage::new("connections", self.limit - self.free.available_permits(), self.limit)
    }

    /// A place, and whether it is one to spare; none when there are no more.
    async fn take(&self) -> Option<(OwnedSemaphorePermit, Standing)> {
        if let Ok(place) = self.free.clone().try_acquire_owned() {
            return Some((place, Standing::Served));
        }
        tokio::select! {
            place = self.free.clone().acquire_owned() => Some((place.ok()?, Standing::Served)),
            place = self.spare.clone().acquire_owned() => Some((place.ok()?, Standing::Spare)),
        }
    }
}

/// What a connection's requests may expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Each is worked on.
    Served,
    /// One for the server's own paths is answered, any other is told to come again; then it is closed.
    Spare,
}

impl std::fmt::Debug for FrontDoor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrontDoor").field("tls", &self.tls.is_some()).finish_non_exhaustive()
    }
}

impl FrontDoor {
    /// Serves `listener` until `stop` resolves, then lets requests in flight end within [`DRAIN`].
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let graceful = hyper_util::server::graceful::GracefulShutdown::new();
        tokio::pin!(stop);
        loop {
            let (place, accepted) = tokio::select! {
                place = self.connections.take() => {
                    let Some(place) = place else { return };
                    tokio::select! {
                        accepted = listener.accept() => (place, accepted),
                        () = &mut stop => break,
                    }
                }
                () = &mut stop => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(cause) => {
                    // Most often the process is out of descriptors: let some be closed first.
                    tracing::warn!(%cause, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let door = self.clone();
            let watcher = graceful.watcher();
            let (place, standing) = place;
            tokio::spawn(async move {
                let _place = place;
                let peer = Peer { address: peer, secure: door.tls.is_some(), standing };
                door.connection(stream, peer, watcher).await;
            });
        }
        drop(listener);
        if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
            tracing::warn!("requests were still in flight after the drain and were cut off");
        }
    }

    async fn connection(
        self,
        stream: TcpStream,
        peer: Peer,
        watcher: hyper_util::server::graceful::Watcher,
    ) {
        let _ = stream.set_nodelay(true);
        // A reader that stands still must not hold what was read for it.
        let millis = u32::try_from(SEND_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
        let _ = setsockopt(&stream, TcpUserTimeout, &millis);
        match self.tls.clone() {
            None => self.requests(TokioIo::new(stream), peer, watcher).await,
            Some(tls) => match tokio::time::timeout(HEADER_TIMEOUT, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.requests(TokioIo::new(stream), peer, watcher).await,
                Ok(Err(cause)) => tracing::debug!(%cause, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            },
        }
    }

    async fn requests<I>(self, io: I, peer: Peer, watcher: hyper_util::server::graceful::Watcher)
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let clock = self.clock.clone();
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            let door = self.clone();
            let clock = clock.clone();
            async move {
                request.extensions_mut().insert(peer);
                request.extensions_mut().insert(peer.address);
                let request = match request.body().is_end_stream() {
                    true => request.map(|_| Body::empty()),
                    false => request.map(|body| Body::new(Patient::new(body, clock, BODY_WAIT))),
                };
                let mut answer = door.answer(request).await?;
                if peer.standing == Standing::Spare {
                    let close = HeaderValue::from_static("close");
                    answer.headers_mut().insert(header::CONNECTION, close);
                }
                Ok::<_, Broken>(answer)
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(match peer.standing {
                Standing::Served => HEADER_TIMEOUT,
                Standing::Spare => SPARE_TIMEOUT,
            })
            .max_headers(FIELDS_MAX)
            .max_buf_size(BUFFER_BYTES_MAX)
            .serve_connection(io, service);
        if let Err(cause) = watcher.watch(connection).await {
            tracing::debug!(%cause, "a connection ended early");
        }
    }

    async fn answer(self, request: Request<Body>) -> Result<Response, Broken> {
        let mut request = request;
        let recorded = recorded::Recorded::open(&*self.clock, &*self.entropy, &mut request);
        if let Some(refusal) = recorded::refusal(&request) {
            return Ok(recorded.answer(&*self.clock, refusal));
        }
        let expects = request.headers().contains_key(header::EXPECT);
        match self.handler.oneshot(request).await {
            Ok(mut answer) => {
                // The client may still send the body that it offered, or not: only a new connection tells
                // its bytes from those of the next request.
                if expects && !answer.status().is_success() {
                    let close = HeaderValue::from_static("close");
                    answer.headers_mut().insert(header::CONNECTION, close);
                }
                Ok(recorded.answer(&*self.clock, answer))
            }
            Err(broken) => Err(broken),
        }
    }
}

/// Who is at the other end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Whether it speaks TLS.
    pub secure: bool,
    /// What its requests may expect.
    pub standing: Standing,
}
