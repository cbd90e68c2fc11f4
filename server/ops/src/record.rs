//! The record of one request: made by the outermost layer, filled on the way, closed when the body drops.

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

/// What is known of one request.
#[derive(Debug, Default)]
pub struct RequestRecord {
    /// Its id, as both request-id headers give it.
    pub id: String,
    /// Milliseconds since 1970 at which it came.
    pub came_ms: u64,
    /// Bytes of its answer's body that were handed to the connection.
    pub bytes_sent: AtomicU64,
    facts: Mutex<RequestFacts>,
}

/// What gate, authorization and handler add.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// `s3`, `omics`, `sts`, `logs` or `rv`.
    pub api: &'static str,
    /// Name of the operation.
    pub operation: String,
    /// ARN of the caller.
    pub caller: String,
    /// Status of the answer.
    pub status: u16,
    /// Error code of the answer.
    pub error: Option<String>,
}

impl RequestRecord {
    /// A record of the request `id`.
    #[must_use]
    pub fn new(id: String, came_ms: u64) -> Self {
        Self { id, came_ms, ..Self::default() }
    }

    /// Adds what became known.
    pub fn note(&self, add: impl FnOnce(&mut RequestFacts)) {
        add(&mut self.facts.lock().expect("no holder of this lock panics"));
    }

    /// Lets `look` see what is known so far.
    pub fn look<T>(&self, look: impl FnOnce(&RequestFacts) -> T) -> T {
        look(&self.facts.lock().expect("no holder of this lock panics"))
    }

    /// Counts bytes handed to the connection.
    pub fn sent(&self, bytes: u64) {
        self.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
    }
}
