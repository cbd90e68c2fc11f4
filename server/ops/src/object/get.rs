//! GetObject and HeadObject.

use std::{
    ops::Range,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{Stream, stream::BoxStream};

use super::{
    Found, Objects,
    condition::ReadConditions,
    find::Name,
    range::{Wanted, plan},
};
use crate::{Fault, FaultKind, authorize::Permit, fault::Result};

/// Bytes up to which an answer is read whole before it begins: one allocation, no stream, and
/// damage is answered with an error instead of a broken connection.
const WHOLE_BYTES_MAX: u64 = 256 << 10;

/// What of an object is asked for, and on what conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GetObject {
    /// What part.
    pub wanted: Wanted,
    /// On what conditions.
    pub conditions: ReadConditions,
}

/// An object, and which of its bytes are given.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// The object.
    pub found: Found,
    /// Its bytes that are given.
    pub range: Range<u64>,
    /// Whether the answer says so.
    pub partial: bool,
}

/// Bytes of an object on their way out.
pub enum Download {
    /// All of them.
    Whole(Bytes),
    /// A stream of them.
    Stream(Live),
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download").finish_non_exhaustive()
    }
}

/// A stream that goes on only while its permit lives, asked at every extent.
pub struct Live {
    permit: Permit,
    inner: BoxStream<'static, readvault_store::Result<Bytes>>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("permit", &self.permit).finish_non_exhaustive()
    }
}

impl Live {
    /// `inner` while `permit` lives.
    #[must_use]
    pub fn new(permit: Permit, inner: BoxStream<'static, readvault_store::Result<Bytes>>) -> Self {
        Self { permit, inner }
    }
}

impl Stream for Live {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.permit.live() {
            let message = "the permission to read was withdrawn";
            return Poll::Ready(Some(Err(Fault::new(FaultKind::AccessDenied, message))));
        }
        self.inner.as_mut().poll_next(cx).map_err(Fault::from)
    }
}

impl Objects {
    /// What is known of an object, and which of its bytes a GET would give. Opens nothing.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchKey`, `NoSuchVersion`, `InvalidKey`, `KeyTooLong`;
    /// `PreconditionFailed`, `NotModified`; `InvalidRange`, `InvalidPart`.
    pub async fn head(&self, permit: &Permit, name: &Name<'_>, get: &GetObject) -> Result<Head> {
        let _ = permit;
        let found = self.find(name).await?;
        get.conditions.check(&found.etag, found.modified_ms)?;
        let planned = plan(get.wanted, found.file.length, &found.parts)?;
        Ok(Head { found, range: planned.range, partial: planned.partial })
    }

    /// Opens an object for reading. Every byte given was authenticated; damage in the middle ends
    /// the stream with an error. The stream asks the permit at every extent.
    ///
    /// # Errors
    /// As [`Objects::head`]; `InvalidState` for a read set that is not active; those of the vault.
    pub async fn get(
        &self,
        permit: &Permit,
        name: &Name<'_>,
        get: &GetObject,
    ) -> Result<(Head, Download)> {
        let head = self.head(permit, name, get).await?;
        head.found.readable()?;
        let reader = self.core().vault().open_file(&head.found.file).await.map_err(gone)?;
        let length = head.range.end - head.range.start;
        let download = if length <= WHOLE_BYTES_MAX {
            Download::Whole(reader.read(head.range.clone()).await?)
        } else {
            Download::Stream(Live::new(permit.clone(), reader.stream(head.range.clone())))
        };
        Ok((head, download))
    }
}

/// An object that was replaced or deleted between its row and its manifest.
fn gone(error: readvault_store::Error) -> Fault {
    match error.kind() {
        readvault_store::ErrorKind::NotFound => {
            Fault::new(FaultKind::SlowDown, "the object is changing; try again").because(error)
        }
        _ => error.into(),
    }
}
