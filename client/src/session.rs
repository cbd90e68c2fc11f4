//! Signed requests to a vault: HealthOmics and CloudWatch Logs in JSON, S3 in bytes.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use bytes::Bytes;
use readvault_ambient::Clock;
use reqwest::{Method, Response};
use serde_json::Value;

use crate::{
    config::Config,
    fault::{Exit, Fault, Result},
};

/// Times that a request is sent when the server or the network fails for a while.
const ATTEMPTS_MAX: u32 = 5;

/// Time to establish a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time without a byte after which a request counts as failed.
const READ_TIMEOUT: Duration = Duration::from_secs(120);

/// Whom a request is signed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// HealthOmics.
    Omics,
    /// CloudWatch Logs.
    Logs,
    /// S3.
    S3,
}

/// A session with one vault. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    config: std::sync::Arc<Config>,
    http: reqwest::Client,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("config", &self.config).finish_non_exhaustive()
    }
}

/// One request, before it is signed.
#[derive(Clone, Debug)]
pub struct Call {
    /// Whom it is for.
    pub service: Service,
    /// Its method.
    pub method: Method,
    /// Path and query, already encoded.
    pub target: String,
    /// Its body.
    pub body: Bytes,
    /// Header fields beside those of the signature.
    pub headers: Vec<(&'static str, String)>,
    /// Whether the payload's digest is signed, too; part bytes are checked by their own.
    pub sign_payload: bool,
}

impl Call {
    /// A call without a body.
    pub fn new(service: Service, method: Method, target: impl Into<String>) -> Self {
        Self {
            service,
            method,
            target: target.into(),
            body: Bytes::new(),
            headers: Vec::new(),
            sign_payload: true,
        }
    }

    /// The same call with a JSON body.
    #[must_use]
    pub fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string().into();
        self.headers.push(("content-type", "application/json".into()));
        self
    }
}

impl Session {
    /// A session as `config` says.
    ///
    /// # Errors
    /// When the TLS roots of this machine can't be loaded.
    pub fn new(config: Config) -> Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .user_agent(concat!("readvault/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|cause| Fault::new(Exit::Temporary, format!("no HTTP client: {cause}")))?;
        Ok(Self { config: config.into(), http })
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Calls a HealthOmics operation and reads its JSON answer.
    ///
    /// # Errors
    /// The fault of the answer, or `Temporary` when none came after several attempts.
    pub async fn omics(&self, method: Method, target: &str, body: Option<&Value>) -> Result<Value> {
        let call = Call::new(Service::Omics, method, target);
        let call = match body {
            Some(body) => call.json(body),
            None => call,
        };
        read_json(self.send(&call).await?).await
    }

    /// Calls a CloudWatch Logs operation.
    ///
    /// # Errors
    /// As [`Session::omics`].
    pub async fn logs(&self, operation: &str, body: &Value) -> Result<Value> {
        let mut call = Call::new(Service::Logs, Method::POST, "/").json(body);
        call.headers = vec![
            ("content-type", "application/x-amz-json-1.1".into()),
            ("x-amz-target", format!("Logs_20140328.{operation}")),
        ];
        read_json(self.send(&call).await?).await
    }

    /// Sends `call`, again when the server asks for that or the network fails; the answer is a success.
    ///
    /// # Errors
    /// As [`Session::omics`].
    pub async fn send(&self, call: &Call) -> Result<Response> {
        let mut attempt = 1;
        loop {
            let fault = match self.attempt(call).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            if fault.exit != Exit::Temporary || attempt == ATTEMPTS_MAX {
                return Err(fault);
            }
            tokio::time::sleep(Duration::from_millis(200) * 2_u32.pow(attempt)).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, call: &Call) -> Result<Response> {
        let url = format!("{}{}", self.config.endpoint, call.target);
        let unsigned = self
            .http
            .request(call.method.clone(), &url)
            .body(call.body.clone())
            .build()
            .map_err(|cause| Fault::usage(format!("{url}: {cause}")))?;
        let request = self.sign(unsigned, call)?;
        let answer = self.http.execute(request).await.map_err(|cause| unreachable(&url, &cause))?;
        if answer.status().is_success() { Ok(answer) } else { Err(refusal(answer).await) }
    }

    fn sign(&self, mut request: reqwest::Request, call: &Call) -> Result<reqwest::Request> {
        let config = &self.config;
        let identity = Credentials::new(
            &config.access_key,
            &config.secret_key,
            config.session_token.clone(),
            None,
            "readvault",
        )
        .into();
        let mut settings = SigningSettings::default();
        let name = match call.service {
            Service::Omics => "omics",
            Service::Logs => "logs",
            Service::S3 => "s3",
        };
        if call.service == Service::S3 {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        }
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let since = Duration::from_millis(readvault_ambient::System.unix_ms());
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&config.region)
            .name(name)
            .time(SystemTime::UNIX_EPOCH + since)
            .settings(settings)
            .build()
            .map_err(|cause| Fault::usage(cause.to_string()))?
            .into();
        let body = if call.sign_payload {
            SignableBody::Bytes(&call.body)
        } else {
            SignableBody::UnsignedPayload
        };
        let headers = call.headers.iter().map(|(name, value)| (*name, value.as_str()));
        let url = request.url().to_string();
        let signable = SignableRequest::new(call.method.as_str(), &url, headers, body)
            .map_err(|cause| Fault::usage(cause.to_string()))?;
        let (instructions, _) =
            sign(signable, &params).map_err(|cause| Fault::usage(cause.to_string()))?.into_parts();
        let signed =
            instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let plain = call.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        for (name, value) in signed.chain(plain) {
            let name = reqwest::header::HeaderName::try_from(name);
            let value = reqwest::header::HeaderValue::try_from(value);
            if let (Ok(name), Ok(value)) = (name, value) {
                request.headers_mut().insert(name, value);
            }
        }
        Ok(request)
    }
}

/// Reads a JSON answer; an empty one is null.
async fn read_json(answer: Response) -> Result<Value> {
    let bytes = answer.bytes().await.map_err(|cause| unreachable("the answer", &cause))?;
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&bytes).map_err(|_| {
        Fault::new(Exit::Version, "the server's answer is not JSON")
            .hint("is AWS_ENDPOINT_URL the address of a vault?")
    })
}

fn unreachable(what: &str, cause: &reqwest::Error) -> Fault {
    let root = std::error::Error::source(cause).map(ToString::to_string);
    let why = root.unwrap_or_else(|| cause.to_string());
    Fault::new(Exit::Temporary, format!("{what} can't be reached: {why}"))
}

/// The fault that an answer without success tells: JSON of HealthOmics and Logs, XML of S3.
async fn refusal(answer: Response) -> Fault {
    let status = answer.status().as_u16();
    let field = |name: &str| {
        answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let request = field("x-amzn-requestid");
    let kind = field("x-amzn-errortype");
    let body = answer.text().await.unwrap_or_default();
    let json: Value = serde_json::from_str(&body).unwrap_or_default();
    let text = |key: &str| json.get(key).and_then(Value::as_str).map(str::to_owned);
    let code = kind
        .or_else(|| text("__type"))
        .or_else(|| between(&body, "<Code>", "</Code>"))
        .unwrap_or_else(|| format!("HTTP {status}"));
    let message = text("message")
        .or_else(|| text("Message"))
        .or_else(|| between(&body, "<Message>", "</Message>"))
        .unwrap_or_default();
    Fault::answered(status, code.split(':').next().unwrap_or(&code), &message, request)
}

fn between(text: &str, start: &str, end: &str) -> Option<String> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end)?.0.to_owned())
}
