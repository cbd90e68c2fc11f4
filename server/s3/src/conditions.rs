//! Conditions of requests, names and times, between s3s and the operations.

use readvault_ops::{
    Fault,
    object::{
        condition::{EtagIs, ReadConditions, WriteConditions},
        find::Name,
    },
};
use s3s::dto::{CopySource, ETag, ETagCondition, Timestamp};
use time::OffsetDateTime;

use crate::{checksums::unsupported, fault::Result};

/// `If-Match` and `If-None-Match` of a read. A weak tag never matches a strong one in `If-Match`,
/// and all tags here are strong.
pub(crate) fn etag_is(condition: Option<ETagCondition>) -> Option<EtagIs> {
    Some(match condition? {
        ETagCondition::Any => EtagIs::Any,
        ETagCondition::ETag(tag) => EtagIs::Tag(tag.into_value()),
    })
}

/// The conditions of a read.
pub(crate) fn read(
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
    if_modified_since: Option<Timestamp>,
    if_unmodified_since: Option<Timestamp>,
) -> ReadConditions {
    let seconds = |at: Timestamp| OffsetDateTime::from(at).unix_timestamp();
    ReadConditions {
        matches: etag_is(if_match),
        matches_not: etag_is(if_none_match),
        modified_since: if_modified_since.map(seconds),
        unmodified_since: if_unmodified_since.map(seconds),
    }
}

/// The conditions of a write.
///
/// # Errors
/// `NotImplemented` for an `If-None-Match` other than `*`.
pub(crate) fn write(
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
) -> Result<WriteConditions> {
    let absent = match if_none_match {
        None => false,
        Some(ETagCondition::Any) => true,
        Some(ETagCondition::ETag(_)) => {
            return Err(unsupported("If-None-Match of a write other than '*'"));
        }
    };
    Ok(WriteConditions { matches: etag_is(if_match), absent })
}

/// The object that a copy comes from.
///
/// # Errors
/// `InvalidArgument` for anything but a bucket and a key.
pub(crate) fn source(source: &CopySource) -> Result<Name<'_>> {
    match source {
        CopySource::Bucket { bucket, key, version_id } => {
            Ok(Name { bucket, key, version: version_id.as_deref() })
        }
        CopySource::AccessPoint { .. } | CopySource::Outpost { .. } => {
            Err(Fault::invalid("the copy source must be a bucket and a key").into())
        }
    }
}

/// An ETag as S3 writes it.
pub(crate) fn etag(text: impl Into<String>) -> Option<ETag> {
    Some(ETag::Strong(text.into()))
}

/// A time as S3 writes it.
pub(crate) fn time(unix_ms: u64) -> Option<Timestamp> {
    let seconds = i64::try_from(unix_ms / 1000).ok()?;
    OffsetDateTime::from_unix_timestamp(seconds).ok().map(Timestamp::from)
}
