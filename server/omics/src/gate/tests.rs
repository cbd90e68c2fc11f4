//! The gate in front of the whole router, over a vault in memory with a clock that stands still.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
    response::Response,
};
use readvault_ambient::{System, testing::ManualClock};
use readvault_ops::{
    authorize::Authorizer,
    core::{Core, Site},
    identity::{Identity, RootCredentials, SecretKey},
    jobs::Jobs,
};
use s3s_sigv4::{AmzDate, Payload, calculate_signature, create_canonical_request};
use sha2::{Digest, Sha256};
use tower::ServiceExt;

use crate::{Parts, router};

/// 2026-11-24T21:00:00Z.
const NOW_MS: u64 = 1_795_554_000_000;
const DATE: &str = "20261124T210000Z";

async fn service() -> Router {
    service_at(Arc::new(ManualClock::at(NOW_MS))).await
}

async fn service_at(clock: Arc<ManualClock>) -> Router {
    let site = Site { account: "123456789012".into(), region: "us-east-1".into() };
    let vault = readvault_store::testing::vault().await;
    let core = Core::new(vault, site.clone(), clock, Arc::new(System));
    let root =
        RootCredentials { access_key: "AKID".into(), secret: SecretKey::new("secret".into()) };
    let jobs = Jobs::new(core.clone());
    router(Parts::new(core, Identity::new(site, root), Authorizer::default(), jobs))
}

/// A request as its signer makes it; tests change one thing of it.
struct Signer {
    date: &'static str,
    scope: &'static str,
    service: &'static str,
    region: &'static str,
    body: &'static str,
    signed_path: &'static str,
    sent_path: &'static str,
    secret: &'static str,
    extra: Option<(&'static str, &'static str)>,
    without_host: bool,
}

impl Default for Signer {
    fn default() -> Self {
        Self {
            date: DATE,
            scope: "20261124",
            service: "omics",
            region: "us-east-1",
            body: "{}",
            signed_path: "/sequencestores",
            sent_path: "/sequencestores",
            secret: "secret",
            extra: None,
            without_host: false,
        }
    }
}

impl Signer {
    fn request(&self) -> Request<Body> {
        let date = AmzDate::parse(self.date).expect("a date");
        let mut headers =
            vec![("host", "storage-omics.example.test:8080"), ("x-amz-date", self.date)];
        if self.without_host {
            headers.remove(0);
        }
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let hash = hex::encode(Sha256::digest(self.body));
        let query: [(&str, &str); 0] = [];
        let canonical = create_canonical_request(
            "POST",
            self.signed_path,
            &query,
            &headers,
            Payload::SingleChunk(&hash),
        );
        let to_sign =
            s3s_sigv4::create_string_to_sign(&canonical, &date, self.region, self.service);
        let signature =
            calculate_signature(&to_sign, self.secret, &date, self.region, self.service);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKID/{}/{}/{}/aws4_request, SignedHeaders={}, \
             Signature={signature}",
            self.scope,
            self.region,
            self.service,
            names.join(";"),
        );
        let mut request = Request::post(self.sent_path)
            .header("host", "storage-omics.example.test:8080")
            .header("x-amz-date", self.date)
            .header("authorization", authorization);
        if let Some((name, value)) = self.extra {
            request = request.header(name, value);
        }
        request.body(Body::from(self.body)).expect("a request")
    }

    async fn send(&self, service: &Router) -> (StatusCode, String, String) {
        told(service.clone().oneshot(self.request()).await.expect("an answer")).await
    }
}

/// Status, name of the error and body.
async fn told(response: Response) -> (StatusCode, String, String) {
    let status = response.status();
    assert!(response.headers().contains_key("x-amzn-requestid"));
    let code = response.headers().get("x-amzn-errortype").map(|value| value.to_str());
    let code = code.transpose().expect("ASCII").unwrap_or_default().to_owned();
    let body = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    (status, code, String::from_utf8(body.into()).expect("text"))
}

#[tokio::test]
async fn a_right_signature_passes_again_and_again() {
    let service = service().await;
    for _ in 0..3 {
        let (status, _, body) = Signer::default().send(&service).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, r#"{"sequenceStores":[]}"#));
    }
}

#[tokio::test]
async fn each_wrong_thing_is_refused_by_its_name() {
    let service = service().await;
    let invalid = "InvalidSignatureException";
    let cases = [
        (Signer { secret: "other", ..Signer::default() }, invalid),
        (Signer { region: "eu-west-1", ..Signer::default() }, invalid),
        (Signer { service: "s3", ..Signer::default() }, invalid),
        (Signer { scope: "20261123", ..Signer::default() }, invalid),
        (Signer { date: "20261124T204459Z", ..Signer::default() }, invalid),
        (Signer { date: "20261124T211501Z", ..Signer::default() }, invalid),
        (Signer { signed_path: "/sequencestore", ..Signer::default() }, invalid),
        (Signer { without_host: true, ..Signer::default() }, invalid),
        (Signer { extra: Some(("x-amz-foo", "1")), ..Signer::default() }, invalid),
        (
            Signer { extra: Some(("x-amz-date", DATE)), ..Signer::default() },
            "IncompleteSignatureException",
        ),
        (
            Signer { extra: Some(("authorization", "AWS4-HMAC-SHA256 x")), ..Signer::default() },
            "IncompleteSignatureException",
        ),
        (Signer { extra: Some(("x-amz-security-token", "none")), ..Signer::default() }, invalid),
    ];
    for (number, (signer, code)) in cases.into_iter().enumerate() {
        let (status, found, body) = signer.send(&service).await;
        assert_eq!((status, found.as_str()), (StatusCode::FORBIDDEN, code), "{number}: {body}");
    }
}

#[tokio::test]
async fn the_window_is_fifteen_minutes_each_way() {
    let service = service().await;
    for date in ["20261124T204500Z", "20261124T211500Z"] {
        let (status, _, body) = Signer { date, ..Signer::default() }.send(&service).await;
        assert_eq!(status, StatusCode::OK, "{date} {body}");
    }
}

/// Seconds since 1970, and the same as a signature writes it.
const SIGNED: [(u64, &str, &str); 4] = [
    (1_795_554_000, "20261124T210000Z", "20261124"),
    (2_147_483_647, "20380119T031407Z", "20380119"),
    (2_147_483_648, "20380119T031408Z", "20380119"),
    (4_107_542_400, "21000301T000000Z", "21000301"),
];

#[tokio::test]
async fn the_window_holds_to_the_second_in_every_year_and_after_every_jump() {
    let clock = Arc::new(ManualClock::at(NOW_MS));
    let service = service_at(clock.clone()).await;
    for (signed, date, scope) in SIGNED {
        let signer = Signer { date, scope, ..Signer::default() };
        // Forwards, backwards, a day away and back, and twice at the same time.
        for offset in [0, 899, -899, 900, -900, 901, -901, 86_400, 0, -86_400, 0, 0, -900, 900] {
            let now = signed.checked_add_signed(offset).expect("a time");
            // The clock of a server has milliseconds, a signature has none.
            clock.set(now * 1000 + if offset < 0 { 0 } else { 999 });
            let (status, code, body) = signer.send(&service).await;
            let expected = match offset.abs() {
                0..=900 => (StatusCode::OK, ""),
                _ => (StatusCode::FORBIDDEN, "InvalidSignatureException"),
            };
            assert_eq!((status, code.as_str()), expected, "{date} {offset}: {body}");
        }
    }
}

#[tokio::test]
async fn an_encoded_path_is_signed_encoded_again() {
    let service = service().await;
    let path = "/tags/arn%3Aaws%3Aomics%3Aus-east-1%3A123456789012%3AsequenceStore%2F1";
    let body = r#"{"tags":{"a":"b"}}"#;
    let signer = Signer { signed_path: path, sent_path: path, body, ..Signer::default() };
    let (status, code, _) = signer.send(&service).await;
    assert_eq!((status, code.as_str()), (StatusCode::NOT_FOUND, "ResourceNotFoundException"));
}

#[tokio::test]
async fn dots_and_unknown_paths_reach_no_handler() {
    let service = service().await;
    for path in ["/sequencestore/../x", "/sequencestore/%2e%2E/x"] {
        let signer = Signer { signed_path: path, sent_path: path, ..Signer::default() };
        assert_eq!(signer.send(&service).await.0, StatusCode::BAD_REQUEST, "{path}");
    }
    let path = "/sequenceStore";
    let signer = Signer { signed_path: path, sent_path: path, ..Signer::default() };
    let (status, code, _) = signer.send(&service).await;
    assert_eq!((status, code.as_str()), (StatusCode::NOT_FOUND, "UnknownOperationException"));
}

#[tokio::test]
async fn unsigned_requests_are_told_so() {
    let service = service().await;
    let request = Request::post("/sequencestores").body(Body::empty()).expect("a request");
    let (status, code, _) = told(service.oneshot(request).await.expect("an answer")).await;
    assert_eq!(
        (status, code.as_str()),
        (StatusCode::FORBIDDEN, "MissingAuthenticationTokenException")
    );
}

#[tokio::test]
async fn the_query_is_signed() {
    let service = service().await;
    let (mut head, body) = Signer::default().request().into_parts();
    head.uri = "/sequencestores?maxResults=1".parse().expect("a path");
    let answer = service.oneshot(Request::from_parts(head, body)).await.expect("an answer");
    let (status, code, _) = told(answer).await;
    assert_eq!((status, code.as_str()), (StatusCode::FORBIDDEN, "InvalidSignatureException"));
}
