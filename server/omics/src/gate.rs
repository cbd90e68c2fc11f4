//! Who calls: AWS Signature Version 4 of every scope but `s3`, by header or presigned URL.
//!
//! Nothing behind the gate runs for a request whose signature, time, scope or signed headers are
//! not right. A repeated request is accepted inside the window, as clients send the same signature
//! twice within a second (docs/omics-compat.md).

mod credential;
mod payload;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Method, request},
    middleware::Next,
    response::{IntoResponse, Response},
};
use readvault_ops::identity::Caller;
use s3s_sigv4::{
    AmzDate, Payload, calculate_signature_with_key, create_canonical_request,
    create_string_to_sign, derive_signing_key,
};
use subtle::ConstantTimeEq;

pub(crate) use self::payload::DeclaredPayload;
use self::{
    credential::{Credential, SignedBy},
    payload::Hashed,
};
use crate::{
    Parts,
    error::{ApiError, ErrorShape},
    json::query_pairs,
};

/// Seconds by which the clocks of client and server may differ.
const SKEW_SECONDS: i64 = 15 * 60;

/// A service of the signature's scope that the gate serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// HealthOmics.
    Omics,
    /// Security Token Service.
    Sts,
    /// CloudWatch Logs.
    Logs,
}

impl Service {
    fn of_scope(name: &str) -> Option<Self> {
        match name {
            "omics" => Some(Self::Omics),
            "sts" => Some(Self::Sts),
            "logs" => Some(Self::Logs),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Omics => "omics",
            Self::Sts => "sts",
            Self::Logs => "logs",
        }
    }

    /// How this service writes errors.
    pub(crate) fn error_shape(self) -> ErrorShape {
        match self {
            Self::Sts => ErrorShape::Xml,
            Self::Omics | Self::Logs => ErrorShape::Json,
        }
    }
}

/// Proof, in the request's extensions, that the gate let it pass.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    /// Who signed.
    pub(crate) caller: Caller,
    /// The service of the scope.
    pub(crate) service: Service,
}

/// Lets a request pass whose signature holds, with [`Signed`] and [`DeclaredPayload`] in its
/// extensions.
pub(crate) async fn gate(State(parts): State<Parts>, request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    let credential = match Credential::read(&head) {
        Ok(credential) => credential,
        Err(error) => return error.into_response(),
    };
    let shape =
        Service::of_scope(&credential.service).map_or(ErrorShape::Json, Service::error_shape);
    match admit(&parts, &mut head, body, &credential).await {
        Ok(body) => next.run(Request::from_parts(head, body)).await,
        Err(error) => error.respond(shape),
    }
}

async fn admit(
    parts: &Parts,
    head: &mut request::Parts,
    body: Body,
    credential: &Credential,
) -> Result<Body, ApiError> {
    let service = check_scope(parts, credential)?;
    check_time(parts, credential)?;
    check_signed_headers(&head.headers, credential)?;
    check_path(head.uri.path())?;
    let (payload, body) = payload::plan(head, credential, body).await?;
    let secret = parts.identity.secret(&credential.access_key).ok_or_else(|| {
        ApiError::forbidden("UnrecognizedClientException", "the access key is not known")
    })?;
    let date = &credential.date;
    let key = derive_signing_key(secret.expose(), date, &credential.region, service.name());
    let right = payload.candidates(credential).iter().any(|hashed| {
        let canonical = canonical_request(head, credential, hashed);
        matches(&canonical, date, credential, &key)
    });
    if !right {
        return Err(ApiError::forbidden(
            "InvalidSignatureException",
            "the signature does not match; check the secret key, the host and the signing method",
        ));
    }
    payload.verify()?;
    let mut caller = parts
        .identity
        .identify(&credential.access_key, credential.session_token.as_deref())
        .map_err(|_| {
            ApiError::forbidden("UnrecognizedClientException", "the security token is not valid")
        })?;
    if let Some(source) = head.extensions.get::<std::net::SocketAddr>() {
        caller.source = Some(source.ip());
    }
    head.extensions.insert(Signed { caller, service });
    head.extensions.insert(payload.declared());
    Ok(body)
}

fn check_scope(parts: &Parts, credential: &Credential) -> Result<Service, ApiError> {
    let refused = |message: String| ApiError::forbidden("InvalidSignatureException", message);
    let Some(service) = Service::of_scope(&credential.service) else {
        return Err(refused(format!(
            "the credential is scoped to the service {}, which is not served here",
            credential.service
        )));
    };
    let region = &parts.core.site().region;
    let global = service == Service::Sts && credential.region == "us-east-1";
    if credential.region != *region && !global {
        return Err(refused(format!(
            "the credential should be scoped to the region {region}, not {}",
            credential.region
        )));
    }
    if credential.scope_date != credential.date.fmt_date().as_str() {
        return Err(refused("the date of the credential is not the date of the request".into()));
    }
    Ok(service)
}

fn check_time(parts: &Parts, credential: &Credential) -> Result<(), ApiError> {
    let now = i64::try_from(parts.core.now_ms() / 1000).unwrap_or(i64::MAX);
    let Some(signed) = credential.date.to_time().map(|time| time.as_second()) else {
        return Err(ApiError::forbidden("InvalidSignatureException", "the date is not a date"));
    };
    match credential.signed_by {
        SignedBy::Header if (now - signed).abs() > SKEW_SECONDS => Err(ApiError::forbidden(
            "InvalidSignatureException",
            format!(
                "the signature is of {}, more than 15 minutes from this server's clock",
                credential.date.fmt_iso8601()
            ),
        )),
        SignedBy::Url { .. } if signed - now > SKEW_SECONDS => {
            Err(ApiError::forbidden("InvalidSignatureException", "the URL is not valid yet"))
        }
        SignedBy::Url { expires_seconds } if now > signed.saturating_add(expires_seconds) => {
            Err(ApiError::forbidden("ExpiredTokenException", "the presigned URL has expired"))
        }
        SignedBy::Header | SignedBy::Url { .. } => Ok(()),
    }
}

/// `host` and the date are signed, and so is every `x-amz-*` header that came.
fn check_signed_headers(headers: &HeaderMap, credential: &Credential) -> Result<(), ApiError> {
    let signed = |name: &str| credential.signed_headers.iter().any(|header| header == name);
    let refuse = |message: String| Err(ApiError::forbidden("InvalidSignatureException", message));
    if !signed("host") {
        return refuse("the header host must be signed".into());
    }
    if credential.signed_by == SignedBy::Header && !signed("x-amz-date") && !signed("date") {
        return refuse("the header x-amz-date must be signed".into());
    }
    for name in headers.keys().map(|name| name.as_str()) {
        if name.starts_with("x-amz-") && !signed(name) {
            return refuse(format!("the header {name} is not signed"));
        }
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), ApiError> {
    let dotted = |segment: &str| {
        let decoded = segment.replace("%2e", ".").replace("%2E", ".");
        decoded == "." || decoded == ".."
    };
    if path.split('/').any(dotted) {
        return Err(ApiError::validation("a path segment may not be . or .."));
    }
    Ok(())
}

fn canonical_request(head: &request::Parts, credential: &Credential, hashed: &Hashed) -> String {
    let mut query = query_pairs(head.uri.query().unwrap_or_default()).unwrap_or_default();
    query.retain(|(name, _)| name != "X-Amz-Signature");
    query.sort_by_cached_key(|(name, value)| (encoded(name), encoded(value)));
    let mut headers = Vec::new();
    for name in &credential.signed_headers {
        for value in head.headers.get_all(name) {
            headers.push((name.as_str(), value.to_str().unwrap_or_default()));
        }
    }
    headers.sort_by_key(|(name, _)| *name);
    let payload = match hashed {
        Hashed::Unsigned => Payload::Unsigned,
        Hashed::Sha256(hash) => Payload::SingleChunk(hash),
    };
    let method = if head.method == Method::HEAD { "HEAD" } else { head.method.as_str() };
    create_canonical_request(method, head.uri.path(), &query, headers, payload)
}

fn encoded(text: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const RESERVED: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    utf8_percent_encode(text, RESERVED).to_string()
}

fn matches(canonical: &str, date: &AmzDate, credential: &Credential, key: &[u8; 32]) -> bool {
    let to_sign = create_string_to_sign(canonical, date, &credential.region, &credential.service);
    let signature = calculate_signature_with_key(&to_sign, key);
    let mut claimed = [0; 32];
    let read = hex::decode_to_slice(&credential.signature, &mut claimed).is_ok();
    read & bool::from(signature.ct_eq(&claimed))
}

#[cfg(test)]
mod tests;
