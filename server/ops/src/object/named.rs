//! What an object's manifest says of it, so that a rebuild can write its row again.

use std::sync::Arc;

use bytes::Bytes;
use readvault_store::vault::{METADATA_BYTES_MAX, Metadata};
use serde::{Deserialize, Serialize};

use super::{Attributes, Checksums, etag, put::PutObject};
use crate::{
    Fault, FaultKind,
    body::{Checksum, Noted},
    core::encode,
    fault::Result,
};

/// Bytes that ETag and checksums take, at most.
const LATE_BYTES_MAX: usize = 1 << 10;

/// An object as its manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Named {
    /// Name of its bucket when it was put.
    pub(crate) bucket: String,
    /// Its key.
    pub(crate) key: String,
    /// Milliseconds since 1970 at which it was put.
    pub(crate) modified_ms: u64,
    /// What its owner said about it.
    #[serde(flatten)]
    pub(crate) attributes: Attributes,
    /// Its ETag, without quotes.
    pub(crate) etag: String,
    /// Its checksums.
    pub(crate) checksums: Checksums,
    /// Whether it was put in parts: the manifest says which.
    #[serde(default)]
    pub(crate) in_parts: bool,
}

/// ETag and checksums of a new object, as far as they are known before its bytes.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    /// Of an object put whole: these.
    Known { etag: String, checksums: Checksums },
    /// Of an object made of parts: these.
    OfParts { etag: String, checksums: Checksums },
    /// What is noted when the body ends: its MD5 as ETag where that was computed, else `drawn`; the
    /// checksums that were computed, unless others are known.
    AtTheEnd { drawn: String, known: Option<Vec<Checksum>>, noted: Noted },
}

impl Named {
    /// The object `target`, put at `modified_ms`; nothing is told of its bytes yet.
    pub(crate) fn new(target: &PutObject, modified_ms: u64) -> Self {
        Self {
            bucket: target.bucket.clone(),
            key: target.key.clone(),
            modified_ms,
            attributes: target.attributes.clone(),
            etag: String::new(),
            checksums: Checksums::default(),
            in_parts: false,
        }
    }
}

impl Told {
    /// The metadata of the object `named`.
    ///
    /// # Errors
    /// `MetadataTooLarge` when the vault can't keep it.
    pub(crate) fn metadata(self, named: Named) -> Result<Metadata> {
        if encode(&named).len() + LATE_BYTES_MAX > METADATA_BYTES_MAX {
            let message = "the headers of the object are too large";
            return Err(Fault::new(FaultKind::MetadataTooLarge, message));
        }
        Ok(match self {
            Self::Known { etag, checksums } => {
                Metadata::Known(encode(&Named { etag, checksums, ..named }))
            }
            Self::OfParts { etag, checksums } => {
                Metadata::Known(encode(&Named { etag, checksums, in_parts: true, ..named }))
            }
            Self::AtTheEnd { drawn, known, noted } => {
                let give = move || -> Bytes {
                    let digests = noted.digests();
                    let etag = etag::of(&digests, drawn.clone());
                    let whole = known.clone().unwrap_or(digests.checksums);
                    let checksums = Checksums { whole, composite: None };
                    encode(&Named { etag, checksums, ..named.clone() })
                };
                Metadata::AtTheEnd(Arc::new(give))
            }
        })
    }
}
