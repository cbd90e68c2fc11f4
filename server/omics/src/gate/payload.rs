//! What of the body the signature covers. JSON bodies are read and hashed within the limit of their
//! operation; the body of a part is checked while it is streamed.

use axum::{
    body::Body,
    http::{Method, request},
};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use readvault_ops::{Fault, body::ended_fault};
use s3s_sigv4::AmzContentSha256;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::credential::{Credential, SignedBy};
use crate::error::ApiError;

/// Bytes of a JSON body.
const JSON_BYTES_MAX: usize = 768 << 10;
/// Bytes of the list of 20,000 parts with their checksums.
const COMPLETE_BYTES_MAX: usize = 4 << 20;
/// Bytes of a JSON body that carries a workflow definition: 100 MiB as base64, and the other
/// fields.
const DEFINITION_BYTES_MAX: usize = 140 << 20;

/// Bodies above [`JSON_BYTES_MAX`] that are read into memory at once; others wait, and each is given up
/// when its bytes don't come in time.
static LARGE_BODIES: Semaphore = Semaphore::const_new(2);

/// The hash that the signature covers, as it stands in the canonical request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hashed {
    /// `UNSIGNED-PAYLOAD`.
    Unsigned,
    /// 64 lower-case hexadecimal digits.
    Sha256(String),
}

/// The SHA-256 that a streamed body must have; none when the payload is unsigned. For handlers that
/// stream: every other body was checked by the gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeclaredPayload(pub(crate) Option<[u8; 32]>);

/// How the body is covered.
#[derive(Debug)]
pub(super) enum Plan {
    /// The body was read; this is its hash, and the one that was declared.
    Read { actual: [u8; 32], declared: Option<[u8; 32]>, empty: bool },
    /// The body is streamed under this declaration.
    Streamed(DeclaredPayload),
}

impl Plan {
    /// The payload hashes under which the signature may hold.
    pub(super) fn candidates(&self, credential: &Credential) -> Vec<Hashed> {
        match self {
            Self::Streamed(DeclaredPayload(None)) => vec![Hashed::Unsigned],
            Self::Streamed(DeclaredPayload(Some(hash))) => vec![Hashed::Sha256(hex::encode(hash))],
            Self::Read { actual, declared, empty } => {
                let hash = Hashed::Sha256(hex::encode(declared.as_ref().unwrap_or(actual)));
                match credential.signed_by {
                    // Presigners differ: some hash the empty body, some write UNSIGNED-PAYLOAD.
                    SignedBy::Url { .. } if *empty => vec![hash, Hashed::Unsigned],
                    SignedBy::Url { .. } | SignedBy::Header => vec![hash],
                }
            }
        }
    }

    /// Checks that a body that was read has the hash that was signed.
    pub(super) fn verify(&self) -> Result<(), ApiError> {
        match self {
            Self::Read { actual, declared: Some(declared), .. } if actual != declared => {
                Err(ApiError::forbidden(
                    "InvalidSignatureException",
                    "the body does not have the SHA-256 of x-amz-content-sha256",
                ))
            }
            Self::Read { .. } | Self::Streamed(_) => Ok(()),
        }
    }

    /// What a streaming handler must check.
    pub(super) fn declared(&self) -> DeclaredPayload {
        match self {
            Self::Streamed(declared) => *declared,
            Self::Read { .. } => DeclaredPayload(None),
        }
    }
}

/// Decides how the body is covered, and reads it unless its operation streams.
pub(super) async fn plan(
    head: &request::Parts,
    credential: &Credential,
    body: Body,
) -> Result<(Plan, Body), ApiError> {
    let declared = declared(head)?;
    if streams(&head.method, head.uri.path()) {
        let plan = match (declared, credential.signed_by) {
            (Some(Declared::Sha256(hash)), _) => DeclaredPayload(Some(hash)),
            (Some(Declared::Unsigned), _) | (None, SignedBy::Url { .. }) => DeclaredPayload(None),
            (None, SignedBy::Header) => {
                return Err(ApiError::validation(
                    "x-amz-content-sha256 is missing: send the SHA-256 of the part or \
                     UNSIGNED-PAYLOAD",
                ));
            }
        };
        return Ok((Plan::Streamed(plan), body));
    }
    let declared = match declared {
        None => None,
        Some(Declared::Sha256(hash)) => Some(hash),
        Some(Declared::Unsigned) => {
            return Err(ApiError::forbidden(
                "InvalidSignatureException",
                "UNSIGNED-PAYLOAD is taken for the upload of a part only",
            ));
        }
    };
    let bytes = read(body, limit(&head.method, head.uri.path())).await?;
    let actual = Sha256::digest(&bytes).into();
    Ok((Plan::Read { actual, declared, empty: bytes.is_empty() }, Body::from(bytes)))
}

enum Declared {
    Unsigned,
    Sha256([u8; 32]),
}

fn declared(head: &request::Parts) -> Result<Option<Declared>, ApiError> {
    let Some(value) = head.headers.get("x-amz-content-sha256") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    match AmzContentSha256::parse(text) {
        Ok(AmzContentSha256::SingleChunk(hash)) => Ok(Some(Declared::Sha256(hash))),
        Ok(AmzContentSha256::UnsignedPayload) => Ok(Some(Declared::Unsigned)),
        Ok(_) | Err(_) => Err(ApiError::validation(
            "x-amz-content-sha256 must be a SHA-256 in hexadecimal or UNSIGNED-PAYLOAD",
        )),
    }
}

/// Whether the operation of `method` and `path` streams its body: `UploadReadSetPart` alone does.
fn streams(method: &Method, path: &str) -> bool {
    method == Method::PUT && path.starts_with("/sequencestore/") && path.ends_with("/part")
}

fn limit(method: &Method, path: &str) -> usize {
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match segments.as_slice() {
        ["workflow"] | ["workflow", _, "version"] if method == Method::POST => DEFINITION_BYTES_MAX,
        ["sequencestore", _, "upload", _, "complete"] => COMPLETE_BYTES_MAX,
        _ => JSON_BYTES_MAX,
    }
}

async fn read(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let _room = match limit {
        JSON_BYTES_MAX => None,
        _ => Some(LARGE_BODIES.acquire().await.map_err(|_| Fault::internal("room for bodies"))?),
    };
    let mut stream = body.into_data_stream();
    let mut bytes = BytesMut::new();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| ended_fault(Box::new(error)))?;
        if bytes.len() + piece.len() > limit {
            return Err(ApiError::validation(format!("the body is longer than {limit} bytes")));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}
