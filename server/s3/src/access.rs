//! Who calls, once s3s verified the signature; and what every operation is told about it.

use std::sync::Arc;

use http::{Extensions, HeaderMap, Uri};
use readvault_ops::{
    identity::{Caller, Identity},
    record::RequestRecord,
};
use s3s::{
    S3Error, S3ErrorCode, S3Result,
    access::{S3Access, S3AccessContext},
    s3_error,
};

/// Identifies callers. What they may do is judged by each operation, which knows its resources.
pub(crate) struct Access {
    pub(crate) identity: Identity,
}

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let operation = cx.s3_op().name().to_owned();
        note(cx.extensions_mut(), |facts| {
            facts.api = "s3";
            facts.operation = operation;
        });
        let caller = self.identify(cx).inspect_err(|error| {
            let code = error.code().as_str().to_owned();
            note(cx.extensions_mut(), |facts| facts.error = Some(code));
        })?;
        let arn = caller.arn(self.identity.site());
        note(cx.extensions_mut(), |facts| facts.caller = arn);
        cx.extensions_mut().insert(Arc::new(caller));
        Ok(())
    }
}

impl Access {
    fn identify(&self, cx: &S3AccessContext<'_>) -> S3Result<Caller> {
        let Some(credentials) = cx.credentials() else {
            return Err(s3_error!(AccessDenied, "this request is not signed"));
        };
        let token = session_token(cx.headers(), cx.uri());
        self.identity.identify(&credentials.access_key, token.as_deref()).map_err(|fault| {
            let code = match token {
                Some(_) => S3ErrorCode::InvalidToken,
                None => S3ErrorCode::InvalidAccessKeyId,
            };
            S3Error::with_message(code, fault.message)
        })
    }
}

/// The session token of a request: in a header or, presigned, in the query.
fn session_token(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    const NAME: &str = "x-amz-security-token";
    if let Some(value) = headers.get(NAME) {
        return Some(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    uri.query()?.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let named = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        named
            .eq_ignore_ascii_case(NAME)
            .then(|| percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned())
    })
}

/// Adds to the record of the request, when it has one.
pub(crate) fn note(
    extensions: &Extensions,
    add: impl FnOnce(&mut readvault_ops::record::RequestFacts),
) {
    if let Some(record) = extensions.get::<Arc<RequestRecord>>() {
        record.note(add);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_wherever_they_are() {
        let none = HeaderMap::new();
        let uri = |text: &'static str| Uri::from_static(text);
        assert_eq!(session_token(&none, &uri("/b?x=1")), None);
        let token = session_token(&none, &uri("/b?a=1&X-Amz-Security-Token=t%2Fk"));
        assert_eq!(token.as_deref(), Some("t/k"));
        let token = session_token(&none, &uri("/b?X-Amz-Security%2DToken=t"));
        assert_eq!(token.as_deref(), Some("t"));
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-security-token", "h".parse().unwrap());
        assert_eq!(session_token(&headers, &uri("/b")).as_deref(), Some("h"));
    }
}
