//! Puts the service together.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use readvault_ops::{
    authorize::Authorizer, bucket::Buckets, identity::Identity, multipart::Multiparts,
    object::Objects,
};
use s3s::{
    HttpError, HttpResponse,
    config::{S3Config, StaticConfigProvider},
    region::Region,
    service::{S3Service, S3ServiceBuilder},
    validation::NameValidation,
};

use crate::{access::Access, api::Api, auth::Auth, fault::document, host::Hosts};

/// Bytes of an XML body at most.
const XML_BYTES_MAX: usize = 4 << 20;

/// Bytes of one signed chunk of an aws-chunked body at most: it is held until it is verified.
const SIGNED_CHUNK_BYTES_MAX: usize = 16 << 20;

/// Bytes of the fields of a form at most.
const FORM_BYTES_MAX: usize = 64 << 10;

/// Seconds for which a presigned URL holds at most.
const PRESIGNED_SECONDS_MAX: u32 = 7 * 24 * 3600;

/// What the service is made of.
#[derive(Clone, Debug)]
pub struct S3Parts {
    /// The operations that it translates to.
    pub vault: S3Vault,
    /// Who may sign.
    pub identity: Identity,
    /// Who may do what.
    pub authorizer: Authorizer,
    /// Host names below which a label names a bucket; any other host means path style.
    pub hosts: Vec<String>,
}

/// The operations on buckets and what they hold.
#[derive(Clone, Debug)]
pub struct S3Vault {
    /// Buckets.
    pub buckets: Buckets,
    /// Objects.
    pub objects: Objects,
    /// Multipart uploads.
    pub multiparts: Multiparts,
}

/// The S3 service: a hyper and a tower service over any body of `Bytes`.
///
/// Takes requests signed with SigV4 for the service `s3` and the site's region, in headers or
/// presigned; refuses everything unsigned. Fills an `Arc<RequestRecord>` that it finds in a
/// request's extensions. An error of the service means that the connection must be closed, as a
/// stored byte was damaged.
#[must_use]
pub fn service(parts: S3Parts) -> S3 {
    let S3Parts { vault, identity, authorizer, hosts } = parts;
    let mut config = S3Config::default();
    config.xml_max_body_size = XML_BYTES_MAX;
    config.aws_chunked_stream_max_chunk_size = SIGNED_CHUNK_BYTES_MAX;
    config.form_max_field_size = FORM_BYTES_MAX;
    config.form_max_fields_size = FORM_BYTES_MAX;
    config.presigned_url_max_expires_secs = PRESIGNED_SECONDS_MAX;
    config.expected_region = Region::new(identity.site().region.as_str().into()).ok();
    config.sig_v4_allowed_services = vec!["s3".into()];
    config.allow_post_signature = false;
    let mut builder =
        S3ServiceBuilder::new(Api { vault, authorizer, site: Arc::new(identity.site().clone()) });
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    builder.set_auth(Auth(identity.clone()));
    builder.set_access(Access { identity });
    builder.set_host(Hosts(hosts));
    builder.set_validation(AnyName);
    S3(builder.build())
}

/// The S3 service, as [`service`] makes it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct S3(S3Service);

/// The answer to a request whose body s3s would hold in memory before anyone is asked: a form of
/// unknown length, or a document above [`XML_BYTES_MAX`].
fn oversized(method: &Method, headers: &HeaderMap) -> Option<HttpResponse> {
    if method != Method::POST {
        return None;
    }
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let length = text(header::CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    let form = text(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("multipart/"));
    if form && length.is_none() {
        let message = "a form must declare its length";
        return Some(document(StatusCode::LENGTH_REQUIRED, "MissingContentLength", message));
    }
    if !form && length.is_some_and(|length| length > XML_BYTES_MAX as u64) {
        let message = "a document has at most 4 MiB";
        return Some(document(StatusCode::BAD_REQUEST, "MaxMessageLengthExceeded", message));
    }
    None
}

/// An answer to come.
type Answer = BoxFuture<'static, Result<HttpResponse, HttpError>>;

/// How a request asks before it sends its body (`Expect: 100-continue`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    /// It does not ask.
    No,
    /// It asks, and has a body.
    Body,
    /// It asks although its body is empty, so it never hears that it may go on.
    Nothing,
}

impl Asks {
    fn of(headers: &HeaderMap) -> Self {
        let empty = headers.get(header::CONTENT_LENGTH).is_some_and(|length| length == "0");
        match headers.contains_key(header::EXPECT) {
            false => Self::No,
            true if empty => Self::Nothing,
            true => Self::Body,
        }
    }

    /// Makes an answer end its connection when the client may still send a body, or not, as it
    /// likes: what it sends next could be taken for the body. And when there was no body to ask
    /// for: botocore then reads the next answer on this connection without its head.
    fn settle(self, mut response: HttpResponse) -> HttpResponse {
        let close = match self {
            Self::No => false,
            Self::Body => !response.status().is_success(),
            Self::Nothing => true,
        };
        if close {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl hyper::service::Service<Request<Incoming>> for S3 {
    type Response = HttpResponse;
    type Error = HttpError;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        if let Some(response) = oversized(request.method(), request.headers()) {
            return futures::future::ready(Ok(response)).boxed();
        }
        let asks = Asks::of(request.headers());
        let answer = hyper::service::Service::call(&self.0, request);
        if asks == Asks::No {
            return answer;
        }
        answer.map(move |answer| answer.map(|response| asks.settle(response))).boxed()
    }
}

impl<B> tower::Service<Request<B>> for S3
where
    S3Service:
        tower::Service<Request<B>, Response = HttpResponse, Error = HttpError, Future = Answer>,
{
    type Response = HttpResponse;
    type Error = HttpError;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HttpError>> {
        tower::Service::poll_ready(&mut self.0, cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if let Some(response) = oversized(request.method(), request.headers()) {
            return futures::future::ready(Ok(response)).boxed();
        }
        let asks = Asks::of(request.headers());
        let answer = tower::Service::call(&mut self.0, request);
        if asks == Asks::No {
            return answer;
        }
        answer.map(move |answer| answer.map(|response| asks.settle(response))).boxed()
    }
}

/// Lets every name through to the operations, which refuse what can't exist.
struct AnyName;

impl NameValidation for AnyName {
    fn validate_bucket_name(&self, name: &str) -> bool {
        !name.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(method: &Method, fields: &[(header::HeaderName, &'static str)]) -> Option<u16> {
        let fields = fields.iter().cloned();
        let headers = fields.map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
        oversized(method, &headers).map(|response| response.status().as_u16())
    }

    fn closes(fields: &[(header::HeaderName, &'static str)], status: StatusCode) -> bool {
        let fields = fields.iter().cloned();
        let headers = fields.map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
        let mut response = HttpResponse::new(s3s::Body::empty());
        *response.status_mut() = status;
        Asks::of(&headers).settle(response).headers().contains_key(header::CONNECTION)
    }

    #[test]
    fn a_connection_ends_where_client_and_server_could_disagree() {
        let expect = (header::EXPECT, "100-continue");
        let empty = (header::CONTENT_LENGTH, "0");
        let some = (header::CONTENT_LENGTH, "5");
        assert!(!closes(std::slice::from_ref(&empty), StatusCode::OK));
        assert!(!closes(std::slice::from_ref(&some), StatusCode::FORBIDDEN));
        assert!(!closes(&[expect.clone(), some.clone()], StatusCode::OK));
        assert!(closes(&[expect.clone(), some], StatusCode::FORBIDDEN));
        assert!(closes(&[expect, empty], StatusCode::OK));
    }

    #[test]
    fn what_would_be_held_whole_is_refused_by_its_head() {
        let form = (header::CONTENT_TYPE, "Multipart/form-data; boundary=b");
        let long = (header::CONTENT_LENGTH, "4194305");
        assert_eq!(answered(&Method::POST, std::slice::from_ref(&form)), Some(411));
        assert_eq!(answered(&Method::POST, &[form, (header::CONTENT_LENGTH, "10")]), None);
        assert_eq!(answered(&Method::POST, std::slice::from_ref(&long)), Some(400));
        assert_eq!(answered(&Method::POST, &[(header::CONTENT_LENGTH, "4194304")]), None);
        assert_eq!(answered(&Method::PUT, &[long]), None);
        assert_eq!(answered(&Method::POST, &[]), None);
    }
}
