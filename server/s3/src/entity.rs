//! The headers of an object in the answers to GET and HEAD.

use readvault_ops::{
    object::{
        get::Head,
        range::{Wanted, part_count},
    },
    read_set::ReadSetStatus,
};
use s3s::dto;

use crate::{
    checksums,
    fault::{Result, refuse},
};

/// Which of an object is asked for.
///
/// # Errors
/// `InvalidRequest` for both a range and a part.
pub(crate) fn wanted(range: Option<dto::Range>, part: Option<i32>) -> Result<Wanted> {
    match (range, part) {
        (None, None) => Ok(Wanted::Whole),
        (Some(dto::Range::Int { first, last }), None) => Ok(Wanted::From(first, last)),
        (Some(dto::Range::Suffix { length }), None) => Ok(Wanted::Last(length)),
        (None, Some(part)) => match u32::try_from(part) {
            Ok(part) if (1..=10_000).contains(&part) => Ok(Wanted::Part(part)),
            _ => Err(readvault_ops::Fault::invalid("a part number is 1 to 10000").into()),
        },
        (Some(_), Some(_)) => Err(refuse(
            s3s::S3ErrorCode::InvalidRequest,
            "a request names a range or a part number, not both",
        )),
    }
}

/// Sets what GET and HEAD have in common: `$input` may override headers.
macro_rules! entity {
    ($output:expr, $input:expr, $head:expr) => {{
        let (output, input, head) = (&mut $output, &$input, &$head);
        let headers = &head.found.attributes.headers;
        let over = |given: &Option<String>, kept: &Option<String>| given.clone().or(kept.clone());
        output.accept_ranges = Some("bytes".into());
        output.cache_control = over(&input.response_cache_control, &headers.cache_control);
        output.content_disposition =
            over(&input.response_content_disposition, &headers.content_disposition);
        output.content_encoding = over(&input.response_content_encoding, &headers.content_encoding);
        output.content_language = over(&input.response_content_language, &headers.content_language);
        let kind = over(&input.response_content_type, &headers.content_type);
        output.content_type = kind.or_else(|| Some("binary/octet-stream".into()));
        output.expires = headers.expires.clone();
        output.content_length = i64::try_from(head.range.end - head.range.start).ok();
        output.content_range = $crate::entity::content_range(head);
        output.e_tag = $crate::conditions::etag(head.found.etag.as_str());
        output.last_modified = $crate::conditions::time(head.found.modified_ms);
        let metadata = &head.found.attributes.metadata;
        output.metadata = (!metadata.is_empty()).then(|| metadata.iter().cloned().collect());
        output.server_side_encryption = $crate::refuse::sse();
        output.parts_count = $crate::entity::parts_count(head, input.part_number);
        let tags = head.found.attributes.tags.len();
        output.tag_count = i32::try_from(tags).ok().filter(|count| *count > 0);
        let (class, restore) = $crate::entity::archived(head.found.read_set);
        output.storage_class = class;
        output.restore = restore;
        let mode = input.checksum_mode.as_ref();
        if mode.is_some_and(|mode| mode.as_str() == "ENABLED") && !head.partial {
            let (texts, kind) = $crate::checksums::of_object(&head.found.checksums);
            $crate::checksums::set_checksums!(*output, texts);
            output.checksum_type = kind;
        }
    }};
}

pub(crate) use entity;

/// `Content-Range` of a part of an object.
pub(crate) fn content_range(head: &Head) -> Option<String> {
    let (range, length) = (&head.range, head.found.file.length);
    (head.partial && !range.is_empty())
        .then(|| format!("bytes {}-{}/{length}", range.start, range.end - 1))
}

/// Number of parts, when one of them was asked for.
pub(crate) fn parts_count(head: &Head, part: Option<i32>) -> Option<i32> {
    part?;
    let count = part_count(&head.found.parts);
    i32::try_from(count).ok().filter(|count| *count > 0)
}

/// The storage class and the restoration of a read set that is not active.
pub(crate) fn archived(
    status: Option<ReadSetStatus>,
) -> (Option<dto::StorageClass>, Option<String>) {
    let glacier = || Some(dto::StorageClass::from_static(dto::StorageClass::GLACIER));
    match status {
        Some(ReadSetStatus::Archived) => (glacier(), None),
        Some(ReadSetStatus::Activating) => (glacier(), Some("ongoing-request=\"true\"".into())),
        _ => (None, None),
    }
}

/// What the checksum headers of answers are made of, for `GetObjectAttributes`.
pub(crate) fn checksum(head: &Head) -> Option<dto::Checksum> {
    let (texts, kind) = checksums::of_object(&head.found.checksums);
    if texts.is_empty() {
        return None;
    }
    let mut checksum = dto::Checksum { checksum_type: kind, ..Default::default() };
    checksums::set_checksums!(checksum, texts);
    Some(checksum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_or_a_part_but_not_both() {
        let range = dto::Range::Int { first: 1, last: None };
        assert_eq!(wanted(None, None).unwrap(), Wanted::Whole);
        assert_eq!(wanted(Some(range), None).unwrap(), Wanted::From(1, None));
        assert_eq!(wanted(None, Some(3)).unwrap(), Wanted::Part(3));
        assert!(wanted(Some(range), Some(3)).is_err());
        assert!(wanted(None, Some(0)).is_err());
        assert!(wanted(None, Some(-1)).is_err());
    }
}
