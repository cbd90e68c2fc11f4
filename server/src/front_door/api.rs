//! Which API a request is for: by its raw path, its signature's scope, or its host.

use http::{HeaderMap, Uri, header::AUTHORIZATION, header::HOST};

/// The five names that HealthOmics clients put before a host.
pub const OMICS_HOST_PREFIXES: [&str; 5] =
    ["control-storage-", "storage-", "workflows-", "analytics-", "tags-"];

/// An API of the one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Health, metrics, console: `/_rv/…`.
    Own,
    /// GA4GH: `/ga4gh/…`.
    Ga4gh,
    /// S3.
    S3,
    /// HealthOmics, STS, CloudWatch Logs and their like: whatever is signed for another service.
    Aws,
}

/// Chooses the API of a request. Decided on the raw path, before anything is decoded.
#[must_use]
pub fn choose(uri: &Uri, headers: &HeaderMap) -> Api {
    let path = uri.path();
    if path == "/_rv" || path.starts_with("/_rv/") {
        return Api::Own;
    }
    if path == "/ga4gh" || path.starts_with("/ga4gh/") {
        return Api::Ga4gh;
    }
    match scope_service(uri, headers) {
        Some("s3") => Api::S3,
        Some(_) => Api::Aws,
        None if omics_host(headers) => Api::Aws,
        None => Api::S3,
    }
}

/// The service of the signature's scope: `…/date/region/SERVICE/aws4_request`.
#[must_use]
pub fn scope_service<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let from_header = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once("Credential="))
        .map(|(_, rest)| rest.split([',', ' ']).next().unwrap_or_default());
    let from_query = || {
        let query = uri.query()?;
        let mut fields = query.split('&').filter_map(|field| field.split_once('='));
        fields.find(|(name, _)| *name == "X-Amz-Credential").map(|(_, value)| value)
    };
    let credential = from_header.or_else(from_query)?;
    if credential.contains('/') {
        credential.rsplit('/').nth(1)
    } else {
        // In a query the slashes are escaped.
        let lower_or_upper = if credential.contains("%2f") { "%2f" } else { "%2F" };
        credential.rsplit(lower_or_upper).nth(1)
    }
}

fn omics_host(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    OMICS_HOST_PREFIXES.iter().any(|prefix| host.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, fields: &[(&'static str, &str)]) -> (Uri, HeaderMap) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(*name, value.parse().expect("a legal value"));
        }
        (uri.parse().expect("a legal URI"), headers)
    }

    fn chosen(uri: &str, fields: &[(&'static str, &str)]) -> Api {
        let (uri, headers) = request(uri, fields);
        choose(&uri, &headers)
    }

    #[test]
    fn the_scope_of_the_signature_decides() {
        let signed = |service: &str| {
            format!(
                "AWS4-HMAC-SHA256 Credential=AK/20261124/us-east-1/{service}/aws4_request, \
                 SignedHeaders=host, Signature=00"
            )
        };
        assert_eq!(chosen("/run", &[("authorization", &signed("omics"))]), Api::Aws);
        assert_eq!(chosen("/run", &[("authorization", &signed("s3"))]), Api::S3);
        assert_eq!(chosen("/", &[("authorization", &signed("sts"))]), Api::Aws);
        let presigned = "/b/k?X-Amz-Credential=AK%2F20261124%2Fus-east-1%2Fs3%2Faws4_request";
        assert_eq!(chosen(presigned, &[]), Api::S3);
    }

    #[test]
    fn without_a_signature_the_host_decides() {
        assert_eq!(chosen("/run", &[("host", "workflows-omics.example.org")]), Api::Aws);
        assert_eq!(chosen("/run", &[("host", "omics.example.org")]), Api::S3);
    }

    #[test]
    fn own_paths_come_first_and_only_as_whole_segments() {
        assert_eq!(chosen("/_rv/health", &[]), Api::Own);
        assert_eq!(chosen("/_rvx/health", &[]), Api::S3);
        assert_eq!(chosen("/ga4gh/drs/v1/objects/1", &[]), Api::Ga4gh);
    }
}
