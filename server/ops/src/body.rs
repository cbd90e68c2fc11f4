//! A request body on its way to the vault: its declared length, what was declared of its bytes, and
//! the digests that are computed while it passes.
//!
//! Nothing is computed that nobody asked for. The API crates make a [`Body`]; `object` and
//! `multipart` check it by [`Checking`] while the vault stages it, so that a body that is not what
//! it was declared to be ends with an error before anything could become visible.

pub mod checking;
pub mod checksum;

use std::fmt;

use bytes::Bytes;
use futures::stream::BoxStream;
use readvault_store::vault::{BodyError, StageError};

pub use checking::{Checking, Digests, Noted};
pub use checksum::{Algorithm, Checksum};

use crate::{Fault, FaultKind, fault::Result};

/// Gives the checksums that stood after the body, once it was read to its end.
pub type Late = Box<dyn FnOnce() -> Result<Vec<Checksum>> + Send>;

/// What was declared of a body.
#[derive(Default)]
pub struct Declared {
    /// Its MD5 (`Content-MD5`).
    pub content_md5: Option<[u8; 16]>,
    /// Checksums that came before the body.
    pub checksums: Vec<Checksum>,
    /// Algorithms to compute although no value came before the body: they were asked for, or their
    /// value comes after the body.
    pub compute: Vec<Algorithm>,
    /// Checksums that come after the body; each must be among `compute`.
    pub late: Option<Late>,
}

impl fmt::Debug for Declared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Declared")
            .field("content_md5", &self.content_md5.is_some())
            .field("checksums", &self.checksums)
            .field("compute", &self.compute)
            .field("late", &self.late.is_some())
            .finish()
    }
}

/// A body, its declared length, and what was declared of it.
pub struct Body {
    /// The bytes. An error that is a [`Fault`] is answered as such; any other means a body cut
    /// short.
    pub stream: BoxStream<'static, Result<Bytes, BodyError>>,
    /// Its length in bytes, as declared.
    pub length: u64,
    /// What was declared of its bytes.
    pub declared: Declared,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("length", &self.length)
            .field("declared", &self.declared)
            .finish_non_exhaustive()
    }
}

impl Body {
    /// A body that is wholly in memory and of which nothing was declared.
    #[must_use]
    pub fn from_bytes(bytes: Bytes) -> Self {
        let length = bytes.len() as u64;
        let stream = Box::pin(futures::stream::iter([Ok(bytes)]));
        Self { stream, length, declared: Declared::default() }
    }
}

/// A body was given up because its bytes did not come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes of the body did not come in time")]
pub struct TooSlow;

/// The fault of a body that ended with `error`, wherever in its chain of causes the reason stands.
#[must_use]
pub fn ended_fault(error: BodyError) -> Fault {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&*error);
    while let Some(now) = cause {
        if now.is::<TooSlow>() {
            let message = "the body did not come in time: its connection was idle or too slow";
            return Fault::new(FaultKind::RequestTimeout, message);
        }
        cause = now.source();
    }
    Fault::new(FaultKind::IncompleteBody, "the body ended early").because(error)
}

/// The fault that a body which could not be staged is answered with.
#[must_use]
pub fn stage_fault(error: StageError) -> Fault {
    match error {
        StageError::Store(error) => error.into(),
        StageError::Body(error) => match error.downcast::<Fault>() {
            Ok(fault) => *fault,
            Err(error) => ended_fault(error),
        },
    }
}
