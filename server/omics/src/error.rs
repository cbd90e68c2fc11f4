//! Errors in the shape of each API, and the one table from [`FaultKind`] to them.

use std::{borrow::Cow, error::Error as _};

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use readvault_ops::{Fault, FaultKind, fault::RETRY_AFTER_SECONDS};
use serde_json::json;

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// How an error is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorShape {
    /// Header `x-amzn-ErrorType` and a JSON body with `message` (rest-json and JSON 1.1).
    Json,
    /// An XML `ErrorResponse` (the query protocol).
    Xml,
}

/// An error as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    /// Status of the answer.
    pub(crate) status: StatusCode,
    /// Name of the error.
    pub(crate) code: &'static str,
    /// What, why and what to do.
    pub(crate) message: Cow<'static, str>,
}

impl ApiError {
    /// An error of `code` with `status`.
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, code, message: message.into() }
    }

    /// The request is not as the contract says.
    pub(crate) fn validation(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "ValidationException", message)
    }

    /// A known operation that this vault does not serve.
    pub(crate) fn not_supported(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "NotSupportedOperationException", message)
    }

    /// The request carries no credentials.
    pub(crate) fn unauthenticated() -> Self {
        Self::forbidden(
            "MissingAuthenticationTokenException",
            "the request is not signed; sign it with AWS Signature Version 4",
        )
    }

    /// A failure of authentication named `code`.
    pub(crate) fn forbidden(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    /// No operation has this method and path.
    pub(crate) fn unknown_operation() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "UnknownOperationException",
            "no operation has this method and path",
        )
    }

    /// The same error, where the API gives the operation no conflict (docs/omics-compat.md).
    #[must_use]
    pub(crate) fn without_conflict(self) -> Self {
        if self.status == StatusCode::CONFLICT {
            return Self::validation(self.message);
        }
        self
    }

    /// The answer, in `shape`.
    pub(crate) fn respond(self, shape: ErrorShape) -> Response {
        match shape {
            ErrorShape::Json => self.into_response(),
            ErrorShape::Xml => self.into_xml(),
        }
    }

    fn into_xml(self) -> Response {
        let kind = if self.status.is_server_error() { "Receiver" } else { "Sender" };
        let body = format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>\
             <Type>{kind}</Type><Code>{}</Code><Message>{}</Message></Error></ErrorResponse>",
            self.code.trim_end_matches("Exception"),
            escape_xml(&self.message),
        );
        let content = [(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"))];
        let mut response = (self.status, content, body).into_response();
        self.retry_after(&mut response);
        response.extensions_mut().insert(self);
        response
    }

    /// Says when to try again, where that helps.
    fn retry_after(&self, response: &mut Response) {
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            let seconds = HeaderValue::from(RETRY_AFTER_SECONDS);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
    }
}

/// The whole answer to a request, signed for the service `scope`, that is refused before it is read; ends
/// its connection.
#[must_use]
pub fn refused(scope: Option<&str>, fault: Fault) -> Response {
    let shape = if scope == Some("sts") { ErrorShape::Xml } else { ErrorShape::Json };
    let mut response = ApiError::from(fault).respond(shape);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        // Clients of rest-json read the header, those of JSON 1.1 the field.
        let body = json!({ "__type": self.code, "message": self.message });
        let mut response = (self.status, Json(body)).into_response();
        response.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static(self.code));
        self.retry_after(&mut response);
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        let (status, code) = name(fault.kind);
        if status.is_server_error() {
            let cause = fault.source().map(ToString::to_string);
            tracing::error!(kind = ?fault.kind, %fault, cause, "an operation failed");
        }
        Self::new(status, code, fault.message)
    }
}

/// Status and name of each kind of fault: the whole table, with no default.
fn name(kind: FaultKind) -> (StatusCode, &'static str) {
    use FaultKind as Kind;
    match kind {
        Kind::Unauthenticated => (StatusCode::FORBIDDEN, "UnrecognizedClientException"),
        Kind::AccessDenied | Kind::Immutable | Kind::KeyUnavailable => {
            (StatusCode::FORBIDDEN, "AccessDeniedException")
        }
        Kind::NoSuchBucket
        | Kind::NoSuchKey
        | Kind::NoSuchVersion
        | Kind::NoSuchUpload
        | Kind::NoSuchTagSet
        | Kind::NotFound => (StatusCode::NOT_FOUND, "ResourceNotFoundException"),
        Kind::InvalidBucketName
        | Kind::InvalidKey
        | Kind::KeyTooLong
        | Kind::InvalidArgument
        | Kind::InvalidTag
        | Kind::MetadataTooLarge
        | Kind::InvalidDigest
        | Kind::BadDigest
        | Kind::PayloadHashMismatch
        | Kind::IncompleteBody
        | Kind::EntityTooLarge
        | Kind::EntityTooSmall
        | Kind::InvalidPart
        | Kind::InvalidPartOrder
        | Kind::PreconditionFailed
        | Kind::NotModified => (StatusCode::BAD_REQUEST, "ValidationException"),
        Kind::BucketAlreadyOwnedByYou | Kind::NotEmpty | Kind::InvalidState | Kind::Conflict => {
            (StatusCode::CONFLICT, "ConflictException")
        }
        Kind::QuotaExceeded => (StatusCode::PAYMENT_REQUIRED, "ServiceQuotaExceededException"),
        Kind::NotSupported | Kind::NotImplemented => {
            (StatusCode::METHOD_NOT_ALLOWED, "NotSupportedOperationException")
        }
        Kind::InvalidRange => (StatusCode::RANGE_NOT_SATISFIABLE, "RangeNotSatisfiableException"),
        Kind::SlowDown => (StatusCode::TOO_MANY_REQUESTS, "ThrottlingException"),
        Kind::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "RequestTimeoutException"),
        Kind::InsufficientStorage | Kind::Corrupt | Kind::Internal => {
            (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerException")
        }
    }
}

fn escape_xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row by row: SDKs decide by status and name what they raise and whether they try again.
    #[test]
    fn each_fault_has_the_status_and_name_of_the_contract() {
        use FaultKind as Kind;
        let rows = [
            (Kind::Unauthenticated, 403, "UnrecognizedClientException"),
            (Kind::AccessDenied, 403, "AccessDeniedException"),
            (Kind::Immutable, 403, "AccessDeniedException"),
            (Kind::KeyUnavailable, 403, "AccessDeniedException"),
            (Kind::NoSuchBucket, 404, "ResourceNotFoundException"),
            (Kind::NoSuchKey, 404, "ResourceNotFoundException"),
            (Kind::NoSuchVersion, 404, "ResourceNotFoundException"),
            (Kind::NoSuchUpload, 404, "ResourceNotFoundException"),
            (Kind::NoSuchTagSet, 404, "ResourceNotFoundException"),
            (Kind::NotFound, 404, "ResourceNotFoundException"),
            (Kind::InvalidBucketName, 400, "ValidationException"),
            (Kind::InvalidKey, 400, "ValidationException"),
            (Kind::KeyTooLong, 400, "ValidationException"),
            (Kind::InvalidArgument, 400, "ValidationException"),
            (Kind::InvalidTag, 400, "ValidationException"),
            (Kind::MetadataTooLarge, 400, "ValidationException"),
            (Kind::InvalidDigest, 400, "ValidationException"),
            (Kind::BadDigest, 400, "ValidationException"),
            (Kind::PayloadHashMismatch, 400, "ValidationException"),
            (Kind::IncompleteBody, 400, "ValidationException"),
            (Kind::EntityTooLarge, 400, "ValidationException"),
            (Kind::EntityTooSmall, 400, "ValidationException"),
            (Kind::InvalidPart, 400, "ValidationException"),
            (Kind::InvalidPartOrder, 400, "ValidationException"),
            (Kind::PreconditionFailed, 400, "ValidationException"),
            (Kind::NotModified, 400, "ValidationException"),
            (Kind::BucketAlreadyOwnedByYou, 409, "ConflictException"),
            (Kind::NotEmpty, 409, "ConflictException"),
            (Kind::InvalidState, 409, "ConflictException"),
            (Kind::Conflict, 409, "ConflictException"),
            (Kind::QuotaExceeded, 402, "ServiceQuotaExceededException"),
            (Kind::NotSupported, 405, "NotSupportedOperationException"),
            (Kind::NotImplemented, 405, "NotSupportedOperationException"),
            (Kind::InvalidRange, 416, "RangeNotSatisfiableException"),
            (Kind::SlowDown, 429, "ThrottlingException"),
            (Kind::RequestTimeout, 408, "RequestTimeoutException"),
            (Kind::InsufficientStorage, 500, "InternalServerException"),
            (Kind::Corrupt, 500, "InternalServerException"),
            (Kind::Internal, 500, "InternalServerException"),
        ];
        for (kind, status, code) in rows {
            let error = ApiError::from(Fault::new(kind, "m"));
            assert_eq!((error.status.as_u16(), error.code), (status, code), "{kind:?}");
            let response = error.into_response();
            assert_eq!(response.headers()[ERROR_TYPE], code);
        }
    }

    #[test]
    fn markup_in_a_message_stays_text() {
        assert_eq!(escape_xml("<a&\"b\">"), "&lt;a&amp;&quot;b&quot;&gt;");
    }
}
