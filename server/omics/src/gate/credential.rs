//! What a request says about its signature: the `Authorization` header or the query of a presigned
//! URL.

use axum::http::{HeaderMap, header, request};
use s3s_sigv4::{AmzDate, AuthorizationV4, PresignedUrlV4};

use crate::{error::ApiError, json::query_pairs};

/// Longest life of a presigned URL: seven days.
const EXPIRES_SECONDS_MAX: u32 = 7 * 24 * 3600;

/// Where the signature stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignedBy {
    /// In the `Authorization` header.
    Header,
    /// In the query.
    Url {
        /// Seconds from the signature's date for which it holds.
        expires_seconds: i64,
    },
}

/// A signature as it was claimed; nothing of it is proven yet.
#[derive(Clone, Debug)]
pub(super) struct Credential {
    pub(super) signed_by: SignedBy,
    pub(super) access_key: String,
    pub(super) session_token: Option<String>,
    pub(super) scope_date: String,
    pub(super) region: String,
    pub(super) service: String,
    pub(super) date: AmzDate,
    pub(super) signed_headers: Vec<String>,
    /// 64 lower-case hexadecimal digits.
    pub(super) signature: String,
}

impl Credential {
    /// What `head` claims.
    ///
    /// # Errors
    /// `MissingAuthenticationTokenException` without a claim, `IncompleteSignatureException` when
    /// it can't be read.
    pub(super) fn read(head: &request::Parts) -> Result<Self, ApiError> {
        if head.headers.contains_key(header::AUTHORIZATION) {
            return Self::from_header(&head.headers);
        }
        let query = head.uri.query().unwrap_or_default();
        if query.contains("X-Amz-Algorithm=") {
            return Self::from_query(query);
        }
        Err(ApiError::unauthenticated())
    }

    fn from_header(headers: &HeaderMap) -> Result<Self, ApiError> {
        let text = single(headers, "authorization")?.ok_or_else(ApiError::unauthenticated)?;
        let claimed = AuthorizationV4::parse(text)
            .map_err(|_| incomplete("the header authorization can't be read"))?;
        if claimed.algorithm != "AWS4-HMAC-SHA256" {
            return Err(incomplete("the signing algorithm must be AWS4-HMAC-SHA256"));
        }
        let date = single(headers, "x-amz-date")?
            .ok_or_else(|| incomplete("the header x-amz-date is missing"))?;
        let date = AmzDate::parse(date).map_err(|_| incomplete("x-amz-date can't be read"))?;
        Ok(Self {
            signed_by: SignedBy::Header,
            access_key: claimed.credential.access_key_id.into(),
            session_token: single(headers, "x-amz-security-token")?.map(Into::into),
            scope_date: claimed.credential.date.into(),
            region: claimed.credential.aws_region.into(),
            service: claimed.credential.aws_service.into(),
            date,
            signed_headers: claimed.signed_headers.iter().map(|name| (*name).into()).collect(),
            signature: claimed.signature.into(),
        })
    }

    fn from_query(query: &str) -> Result<Self, ApiError> {
        let pairs = query_pairs(query)?;
        let claimed = PresignedUrlV4::parse(&pairs, EXPIRES_SECONDS_MAX)
            .map_err(|_| incomplete("the query of the presigned URL can't be read"))?;
        if claimed.algorithm != "AWS4-HMAC-SHA256" {
            return Err(incomplete("the signing algorithm must be AWS4-HMAC-SHA256"));
        }
        let token = pairs.iter().find(|(name, _)| name == "X-Amz-Security-Token");
        Ok(Self {
            signed_by: SignedBy::Url { expires_seconds: claimed.expires.as_secs() },
            access_key: claimed.credential.access_key_id.into(),
            session_token: token.map(|(_, value)| value.clone()),
            scope_date: claimed.credential.date.into(),
            region: claimed.credential.aws_region.into(),
            service: claimed.credential.aws_service.into(),
            signed_headers: claimed.signed_headers.iter().map(|name| (*name).into()).collect(),
            signature: claimed.signature.into(),
            date: claimed.amz_date,
        })
    }
}

/// The value of a header that may come once.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(incomplete("a header of the signature came twice"));
    }
    value.to_str().map(Some).map_err(|_| incomplete("a header of the signature is not ASCII"))
}

fn incomplete(message: &'static str) -> ApiError {
    ApiError::forbidden("IncompleteSignatureException", message)
}
