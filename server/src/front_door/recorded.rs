//! The outermost layer: makes the record of a request, sets both request-id headers, closes the record
//! when the answer's body drops, and writes the log line and the metrics from it.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, LazyLock, RwLock},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use readvault_ambient::{Clock, Entropy, random};
use readvault_ops::record::RequestRecord;

use super::admission::Place;

/// Most bytes of all header fields together.
const HEADER_BYTES_MAX: usize = 16 << 10;

/// Most bytes of a request target.
const TARGET_BYTES_MAX: usize = 8 << 10;

const AMZ_REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
const AMZN_REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// A request whose record is open.
pub(super) struct Recorded {
    record: Arc<RequestRecord>,
    method: http::Method,
    began: Duration,
}

impl Recorded {
    /// Opens the record of `request` and puts it into its extensions.
    pub(super) fn open(
        clock: &dyn Clock,
        entropy: &dyn Entropy,
        request: &mut Request<Body>,
    ) -> Self {
        // In the form of a UUID, as clients print it.
        let id = uuid::Uuid::from_bytes(random(entropy)).to_string();
        let record = Arc::new(RequestRecord::new(id, clock.unix_ms()));
        request.extensions_mut().insert(record.clone());
        Self { record, method: request.method().clone(), began: clock.monotonic() }
    }

    /// The answer with its request ids; the record closes when its body drops.
    pub(super) fn answer(self, clock: &dyn Clock, answer: Response) -> Response {
        let Self { record, method, began } = self;
        record.note(|facts| facts.status = answer.status().as_u16());
        let took = clock.monotonic().saturating_sub(began);
        let (mut head, body) = answer.into_parts();
        let place = head.extensions.remove::<Arc<Place>>();
        if let Ok(value) = HeaderValue::from_str(&record.id) {
            head.headers.insert(AMZ_REQUEST_ID, value.clone());
            head.headers.insert(AMZN_REQUEST_ID, value);
        }
        let closing = Closing { record, method, took, _place: place };
        Response::from_parts(head, Body::new(RecordedBody { body, closing }))
    }
}

/// The answer to a request whose head is above a limit.
pub(super) fn refusal<B>(request: &Request<B>) -> Option<Response> {
    over_limits(request).map(IntoResponse::into_response)
}

fn over_limits<B>(request: &Request<B>) -> Option<StatusCode> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > TARGET_BYTES_MAX {
        return Some(StatusCode::URI_TOO_LONG);
    }
    let fields = request.headers().iter();
    let bytes: usize = fields.map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    (bytes > HEADER_BYTES_MAX).then_some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
}

/// Closes the record when it is dropped, whether or not the body was sent to its end.
struct Closing {
    record: Arc<RequestRecord>,
    method: http::Method,
    took: Duration,
    /// Given back once the answer has gone.
    _place: Option<Arc<Place>>,
}

impl Drop for Closing {
    fn drop(&mut self) {
        let sent = self.record.bytes_sent.load(std::sync::atomic::Ordering::Relaxed);
        let (api, status) = self.record.look(|facts| {
            tracing::info!(
                target: "request",
                id = self.record.id,
                method = %self.method,
                api = facts.api,
                operation = facts.operation,
                caller = facts.caller,
                status = facts.status,
                error = facts.error,
                sent,
                took_us = u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX),
            );
            (facts.api, facts.status)
        });
        let counters = counters(api, status);
        counters.requests.increment(1);
        counters.sent_bytes.increment(sent);
    }
}

/// What is counted of the requests of one API with one status.
#[derive(Clone)]
struct Counters {
    requests: metrics::Counter,
    sent_bytes: metrics::Counter,
}

/// The counters of an API and a status, made at the first of its requests: finding them by their labels
/// costs more than counting. There are few APIs and fewer than 600 statuses.
fn counters(api: &'static str, status: u16) -> Counters {
    static KNOWN: LazyLock<RwLock<HashMap<(&str, u16), Counters>>> = LazyLock::new(RwLock::default);
    if let Some(counters) = KNOWN.read().expect("no holder of this lock panics").get(&(api, status))
    {
        return counters.clone();
    }
    let counters = Counters {
        requests: metrics::counter!(
            "readvault_requests_total", "api" => api, "status" => status.to_string()
        ),
        sent_bytes: metrics::counter!("readvault_sent_bytes_total", "api" => api),
    };
    let mut known = KNOWN.write().expect("no holder of this lock panics");
    known.entry((api, status)).or_insert(counters).clone()
}

struct RecordedBody {
    body: Body,
    closing: Closing,
}

impl HttpBody for RecordedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.closing.record.sent(data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
