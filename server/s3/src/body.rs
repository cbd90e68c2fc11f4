//! Bodies between s3s and the operations.

use std::{
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http::HeaderMap;
use readvault_ops::{
    Fault, FaultKind,
    body::{Body, Declared, ended_fault},
    object::get::{Download, Live},
};
use s3s::{
    BodySizeLimitExceeded, S3ErrorCode, StdError,
    dto::StreamingBlob,
    stream::{
        ByteStream, RemainingLength, aws_chunked_stream::AwsChunkedStreamError,
        upload_stream::UploadStreamError,
    },
};

use crate::fault::{Refusal, Result, refuse};

/// The body of an upload.
///
/// # Errors
/// `MissingContentLength` when its length is not known.
pub(crate) fn incoming(
    blob: Option<StreamingBlob>,
    headers: &HeaderMap,
    content_length: Option<i64>,
    declared: Declared,
) -> Result<Body> {
    let blob = blob.unwrap_or_else(|| StreamingBlob::from_bytes(Bytes::new()));
    let length = decoded_length(headers)?
        .or_else(|| blob.remaining_length().exact().and_then(|bytes| u64::try_from(bytes).ok()))
        .or_else(|| content_length.and_then(|bytes| u64::try_from(bytes).ok()))
        .ok_or_else(|| {
            refuse(S3ErrorCode::MissingContentLength, "the length of the body is not declared")
        })?;
    let stream = blob.map(|item| item.map_err(|error| body_fault(error).into()));
    Ok(Body { stream: Box::pin(stream), length, declared })
}

fn decoded_length(headers: &HeaderMap) -> Result<Option<u64>> {
    let Some(value) = headers.get("x-amz-decoded-content-length") else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    let malformed =
        || -> Refusal { Fault::invalid("x-amz-decoded-content-length is not a number").into() };
    length.map(Some).ok_or_else(malformed)
}

/// What is wrong with a body that s3s ends with `error`.
fn body_fault(error: StdError) -> Fault {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&*error);
    while let Some(now) = cause {
        if let Some(known) = known(now) {
            return known;
        }
        cause = now.source();
    }
    ended_fault(error)
}

fn known(error: &(dyn std::error::Error + 'static)) -> Option<Fault> {
    use AwsChunkedStreamError as Chunked;
    use UploadStreamError as Upload;
    if let Some(error) = error.downcast_ref::<BodySizeLimitExceeded>() {
        return Some(Fault::new(FaultKind::EntityTooLarge, error.to_string()));
    }
    let short = "the body is not of its declared length";
    if let Some(error) = error.downcast_ref::<Upload>() {
        return match error {
            Upload::Sha256Mismatch => Some(Fault::new(
                FaultKind::PayloadHashMismatch,
                "the body does not match x-amz-content-sha256",
            )),
            Upload::LengthMismatch | Upload::Incomplete => {
                Some(Fault::new(FaultKind::IncompleteBody, short))
            }
            Upload::Underlying(_) => None,
        };
    }
    match error.downcast_ref::<Chunked>()? {
        Chunked::SignatureMismatch => Some(Fault::new(
            FaultKind::AccessDenied,
            "the signature of a chunk of the body does not match",
        )),
        Chunked::Incomplete | Chunked::LengthMismatch => {
            Some(Fault::new(FaultKind::IncompleteBody, short))
        }
        Chunked::Underlying(_) => None,
        _ => Some(Fault::invalid("the aws-chunked body is malformed")),
    }
}

/// The body of an answer of `length` bytes.
pub(crate) fn outgoing(download: Download, length: u64) -> StreamingBlob {
    match download {
        Download::Whole(bytes) => StreamingBlob::from_bytes(bytes),
        Download::Stream(live) => {
            StreamingBlob::new(Outgoing { live: Mutex::new(live), left: length })
        }
    }
}

/// A stream of a known length, and `Sync` as s3s wants it: the lock is never taken, only passed by.
struct Outgoing {
    live: Mutex<Live>,
    left: u64,
}

impl Stream for Outgoing {
    type Item = Result<Bytes, StdError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let live = self.live.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let polled = std::task::ready!(Pin::new(live).poll_next(cx));
        if let Some(Ok(bytes)) = &polled {
            self.left = self.left.saturating_sub(bytes.len() as u64);
        }
        Poll::Ready(polled.map(|item| item.map_err(StdError::from)))
    }
}

impl ByteStream for Outgoing {
    fn remaining_length(&self) -> RemainingLength {
        match usize::try_from(self.left) {
            Ok(left) => RemainingLength::new_exact(left),
            Err(_) => RemainingLength::unknown(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_bodies_are_told_apart() {
        let kind = |error: StdError| body_fault(error).kind;
        let wrapped =
            UploadStreamError::Underlying(Box::new(BodySizeLimitExceeded { size: 2, limit: 1 }));
        assert_eq!(kind(Box::new(wrapped)), FaultKind::EntityTooLarge);
        assert_eq!(
            kind(Box::new(UploadStreamError::Sha256Mismatch)),
            FaultKind::PayloadHashMismatch
        );
        assert_eq!(kind(Box::new(UploadStreamError::Incomplete)), FaultKind::IncompleteBody);
        let chunk = AwsChunkedStreamError::SignatureMismatch;
        assert_eq!(kind(Box::new(chunk)), FaultKind::AccessDenied);
        let format = AwsChunkedStreamError::FormatError;
        assert_eq!(kind(Box::new(format)), FaultKind::InvalidArgument);
        assert_eq!(kind(Box::new(std::io::Error::other("x"))), FaultKind::IncompleteBody);
    }
}
