//! The accept loop: limits, TLS, request records, the choice of API, and an orderly end.
//!
//! Layers, outermost first: limits → request record → choice of API → gate → handler. The gate belongs to
//! each API, as signatures differ.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use readvault_ambient::{Clock, Entropy};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

pub mod api;
pub mod recorded;

/// Time in which a client must send its request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Most header fields of a request.
const FIELDS_MAX: usize = 100;

/// Most connections at once; others wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 4096;

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
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        tokio::pin!(stop);
        loop {
            let Ok(place) = room.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
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
            tokio::spawn(async move {
                let _place = place;
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
        peer: SocketAddr,
        watcher: hyper_util::server::graceful::Watcher,
    ) {
        let _ = stream.set_nodelay(true);
        match self.tls.clone() {
            None => self.requests(TokioIo::new(stream), peer, watcher).await,
            Some(tls) => match tokio::time::timeout(HEADER_TIMEOUT, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.requests(TokioIo::new(stream), peer, watcher).await,
                Ok(Err(cause)) => tracing::debug!(%cause, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            },
        }
    }

    async fn requests<I>(
        self,
        io: I,
        peer: SocketAddr,
        watcher: hyper_util::server::graceful::Watcher,
    ) where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let secure = self.tls.is_some();
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            let door = self.clone();
            async move {
                request.extensions_mut().insert(Peer { address: peer, secure });
                request.extensions_mut().insert(peer);
                door.answer(request.map(Body::new)).await
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_headers(FIELDS_MAX)
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
}
