//! How a [`Fault`] is answered: one exhaustive table.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use readvault_ops::{Fault, FaultKind, fault::RETRY_AFTER_SECONDS};
use s3s::{HttpResponse, S3Error, S3ErrorCode};

/// An answer that refuses a request. Both an operation's fault and an error of this crate become
/// one.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) S3Error);

/// The result of an adapter's operation.
pub(crate) type Result<T, E = Refusal> = std::result::Result<T, E>;

impl From<S3Error> for Refusal {
    fn from(error: S3Error) -> Self {
        Self(error)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self(error(fault))
    }
}

impl From<S3ErrorCode> for Refusal {
    fn from(code: S3ErrorCode) -> Self {
        Self(code.into())
    }
}

/// A refusal with a message.
pub(crate) fn refuse(code: S3ErrorCode, message: &'static str) -> Refusal {
    Refusal(S3Error::with_message(code, message))
}

/// The whole answer to a request that is refused before it is read; ends its connection.
#[must_use]
pub fn refused(fault: Fault) -> HttpResponse {
    let (code, status) = row(fault.kind);
    let mut response = document(status, code.as_str(), &fault.message);
    if fault.kind == FaultKind::SlowDown {
        let seconds = HeaderValue::from(RETRY_AFTER_SECONDS);
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

/// An error document that ends its connection, as the body of the request is not read.
pub(crate) fn document(status: StatusCode, code: &str, message: &str) -> HttpResponse {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code>\
         <Message>{message}</Message></Error>"
    );
    let mut response = HttpResponse::new(s3s::Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The answer to `fault`.
fn error(fault: Fault) -> S3Error {
    let (code, status) = row(fault.kind);
    let mut error = S3Error::with_message(code, fault.message.clone());
    error.set_status_code(status);
    if fault.kind == FaultKind::SlowDown {
        let seconds = HeaderValue::from(RETRY_AFTER_SECONDS);
        error.set_headers(HeaderMap::from_iter([(header::RETRY_AFTER, seconds)]));
    }
    if let Some(cause) = fault.cause {
        error.set_source(cause);
    }
    error
}

/// The row of the table.
fn row(kind: FaultKind) -> (S3ErrorCode, StatusCode) {
    use S3ErrorCode as Code;
    let custom = |name: &'static str| Code::Custom(name.into());
    match kind {
        FaultKind::Unauthenticated | FaultKind::AccessDenied | FaultKind::Immutable => {
            (Code::AccessDenied, StatusCode::FORBIDDEN)
        }
        FaultKind::NoSuchBucket => (Code::NoSuchBucket, StatusCode::NOT_FOUND),
        FaultKind::NoSuchKey => (Code::NoSuchKey, StatusCode::NOT_FOUND),
        FaultKind::NoSuchVersion => (Code::NoSuchVersion, StatusCode::NOT_FOUND),
        FaultKind::NoSuchUpload => (Code::NoSuchUpload, StatusCode::NOT_FOUND),
        FaultKind::NoSuchTagSet => (Code::NoSuchTagSet, StatusCode::NOT_FOUND),
        FaultKind::NotFound => (custom("NoSuchResource"), StatusCode::NOT_FOUND),
        FaultKind::BucketAlreadyOwnedByYou => (Code::BucketAlreadyOwnedByYou, StatusCode::CONFLICT),
        FaultKind::NotEmpty => (Code::BucketNotEmpty, StatusCode::CONFLICT),
        FaultKind::InvalidBucketName => (Code::InvalidBucketName, StatusCode::BAD_REQUEST),
        FaultKind::InvalidKey | FaultKind::InvalidArgument => {
            (Code::InvalidArgument, StatusCode::BAD_REQUEST)
        }
        FaultKind::KeyTooLong => (Code::KeyTooLongError, StatusCode::BAD_REQUEST),
        FaultKind::InvalidTag => (Code::InvalidTag, StatusCode::BAD_REQUEST),
        FaultKind::MetadataTooLarge => (Code::MetadataTooLarge, StatusCode::BAD_REQUEST),
        FaultKind::InvalidDigest => (Code::InvalidDigest, StatusCode::BAD_REQUEST),
        FaultKind::BadDigest => (Code::BadDigest, StatusCode::BAD_REQUEST),
        FaultKind::PayloadHashMismatch => {
            (custom("XAmzContentSHA256Mismatch"), StatusCode::BAD_REQUEST)
        }
        FaultKind::IncompleteBody => (Code::IncompleteBody, StatusCode::BAD_REQUEST),
        FaultKind::EntityTooLarge => (Code::EntityTooLarge, StatusCode::BAD_REQUEST),
        FaultKind::EntityTooSmall => (Code::EntityTooSmall, StatusCode::BAD_REQUEST),
        FaultKind::InvalidPart => (Code::InvalidPart, StatusCode::BAD_REQUEST),
        FaultKind::InvalidPartOrder => (Code::InvalidPartOrder, StatusCode::BAD_REQUEST),
        FaultKind::PreconditionFailed => {
            (Code::PreconditionFailed, StatusCode::PRECONDITION_FAILED)
        }
        FaultKind::NotModified => (Code::NotModified, StatusCode::NOT_MODIFIED),
        FaultKind::InvalidRange => (Code::InvalidRange, StatusCode::RANGE_NOT_SATISFIABLE),
        FaultKind::InvalidState => (Code::InvalidObjectState, StatusCode::FORBIDDEN),
        FaultKind::Conflict => (Code::OperationAborted, StatusCode::CONFLICT),
        FaultKind::QuotaExceeded => (custom("QuotaExceeded"), StatusCode::FORBIDDEN),
        FaultKind::NotSupported => (Code::MethodNotAllowed, StatusCode::METHOD_NOT_ALLOWED),
        FaultKind::NotImplemented => (Code::NotImplemented, StatusCode::NOT_IMPLEMENTED),
        FaultKind::SlowDown => (Code::SlowDown, StatusCode::SERVICE_UNAVAILABLE),
        FaultKind::RequestTimeout => (Code::RequestTimeout, StatusCode::BAD_REQUEST),
        FaultKind::InsufficientStorage => {
            (custom("InsufficientStorage"), StatusCode::INSUFFICIENT_STORAGE)
        }
        FaultKind::KeyUnavailable => (custom("KMS.DisabledException"), StatusCode::BAD_REQUEST),
        FaultKind::Corrupt | FaultKind::Internal => {
            (Code::InternalError, StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table as people know it: kind, code, status.
    const ROWS: &[(FaultKind, &str, u16)] = &[
        (FaultKind::Unauthenticated, "AccessDenied", 403),
        (FaultKind::AccessDenied, "AccessDenied", 403),
        (FaultKind::Immutable, "AccessDenied", 403),
        (FaultKind::NoSuchBucket, "NoSuchBucket", 404),
        (FaultKind::NoSuchKey, "NoSuchKey", 404),
        (FaultKind::NoSuchVersion, "NoSuchVersion", 404),
        (FaultKind::NoSuchUpload, "NoSuchUpload", 404),
        (FaultKind::NoSuchTagSet, "NoSuchTagSet", 404),
        (FaultKind::NotFound, "NoSuchResource", 404),
        (FaultKind::BucketAlreadyOwnedByYou, "BucketAlreadyOwnedByYou", 409),
        (FaultKind::NotEmpty, "BucketNotEmpty", 409),
        (FaultKind::InvalidBucketName, "InvalidBucketName", 400),
        (FaultKind::InvalidKey, "InvalidArgument", 400),
        (FaultKind::KeyTooLong, "KeyTooLongError", 400),
        (FaultKind::InvalidArgument, "InvalidArgument", 400),
        (FaultKind::InvalidTag, "InvalidTag", 400),
        (FaultKind::MetadataTooLarge, "MetadataTooLarge", 400),
        (FaultKind::InvalidDigest, "InvalidDigest", 400),
        (FaultKind::BadDigest, "BadDigest", 400),
        (FaultKind::PayloadHashMismatch, "XAmzContentSHA256Mismatch", 400),
        (FaultKind::IncompleteBody, "IncompleteBody", 400),
        (FaultKind::EntityTooLarge, "EntityTooLarge", 400),
        (FaultKind::EntityTooSmall, "EntityTooSmall", 400),
        (FaultKind::InvalidPart, "InvalidPart", 400),
        (FaultKind::InvalidPartOrder, "InvalidPartOrder", 400),
        (FaultKind::PreconditionFailed, "PreconditionFailed", 412),
        (FaultKind::NotModified, "NotModified", 304),
        (FaultKind::InvalidRange, "InvalidRange", 416),
        (FaultKind::InvalidState, "InvalidObjectState", 403),
        (FaultKind::Conflict, "OperationAborted", 409),
        (FaultKind::QuotaExceeded, "QuotaExceeded", 403),
        (FaultKind::NotSupported, "MethodNotAllowed", 405),
        (FaultKind::NotImplemented, "NotImplemented", 501),
        (FaultKind::SlowDown, "SlowDown", 503),
        (FaultKind::RequestTimeout, "RequestTimeout", 400),
        (FaultKind::InsufficientStorage, "InsufficientStorage", 507),
        (FaultKind::KeyUnavailable, "KMS.DisabledException", 400),
        (FaultKind::Corrupt, "InternalError", 500),
        (FaultKind::Internal, "InternalError", 500),
    ];

    #[test]
    fn every_kind_has_its_answer() {
        for (kind, code, status) in ROWS {
            let refusal = Refusal::from(Fault::new(*kind, "why"));
            assert_eq!(refusal.0.code().as_str(), *code, "{kind:?}");
            assert_eq!(refusal.0.status_code().map(|s| s.as_u16()), Some(*status), "{kind:?}");
            assert_eq!(refusal.0.message(), Some("why"));
        }
    }

    #[test]
    fn causes_stay_inside() {
        let fault = Fault::internal("internal error").because("a secret detail");
        let answer = error(fault);
        assert!(!answer.message().unwrap_or_default().contains("secret"));
    }
}
