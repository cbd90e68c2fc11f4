//! What a request says about an object that it writes.

use readvault_ops::{Fault, FaultKind};
use s3s::dto;

use crate::fault::Result;

/// The attributes that a DTO holds; refuses what is not done (ACLs, encryption, locks, classes).
macro_rules! attributes_of {
    ($input:expr) => {{
        let input = &mut $input;
        $crate::refuse::object_acl(
            input.acl.as_ref(),
            &[
                input.grant_full_control.as_deref(),
                input.grant_read.as_deref(),
                input.grant_read_acp.as_deref(),
                input.grant_write_acp.as_deref(),
            ],
        )?;
        $crate::refuse::encryption(
            input.server_side_encryption.as_ref(),
            input.ssekms_key_id.as_deref(),
            &[input.sse_customer_algorithm.as_deref(), input.sse_customer_key.as_deref()],
        )?;
        $crate::refuse::storage_class(input.storage_class.as_ref())?;
        $crate::refuse::features(&[
            (input.website_redirect_location.is_some(), "website redirection"),
            (input.object_lock_mode.is_some(), "object lock"),
            (input.object_lock_retain_until_date.is_some(), "object lock"),
            (input.object_lock_legal_hold_status.is_some(), "object lock"),
        ])?;
        readvault_ops::object::Attributes {
            headers: readvault_ops::object::Headers {
                content_type: input.content_type.take(),
                cache_control: input.cache_control.take(),
                content_disposition: input.content_disposition.take(),
                content_encoding: $crate::write::content_encoding(input.content_encoding.take()),
                content_language: input.content_language.take(),
                expires: input.expires.take(),
            },
            metadata: $crate::write::metadata(input.metadata.take()),
            tags: $crate::write::tagging_header(input.tagging.as_deref())?,
        }
    }};
}

pub(crate) use attributes_of;

/// `Content-Encoding` as it is kept: `aws-chunked` belongs to the transfer, not to the object.
pub(crate) fn content_encoding(value: Option<String>) -> Option<String> {
    let value = value?;
    let kept: Vec<&str> = value
        .split(',')
        .map(str::trim)
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// User metadata, in the order of names.
pub(crate) fn metadata(metadata: Option<dto::Metadata>) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = metadata.into_iter().flatten().collect();
    pairs.sort();
    pairs
}

/// The tags of `x-amz-tagging`: a form-encoded list.
pub(crate) fn tagging_header(text: Option<&str>) -> Result<Vec<(String, String)>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(Vec::new()) };
    let decode = |part: &str| {
        let spaced = part.replace('+', " ");
        let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8();
        decoded
            .map(|text| text.into_owned())
            .map_err(|_| Fault::new(FaultKind::InvalidTag, "x-amz-tagging is not UTF-8"))
    };
    let pairs = text.split('&').map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(key)?, decode(value)?))
    });
    Ok(pairs.collect::<Result<Vec<_>, Fault>>()?)
}

/// The tags of an XML document.
pub(crate) fn tag_set(tags: dto::TagSet) -> Vec<(String, String)> {
    tags.into_iter()
        .map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default()))
        .collect()
}

/// An XML document of tags.
pub(crate) fn to_tag_set(tags: Vec<(String, String)>) -> dto::TagSet {
    tags.into_iter().map(|(key, value)| dto::Tag { key: Some(key), value: Some(value) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aws_chunked_is_no_encoding_of_the_object() {
        let kept = |value: &str| content_encoding(Some(value.into()));
        assert_eq!(kept("aws-chunked"), None);
        assert_eq!(kept("gzip, AWS-chunked").as_deref(), Some("gzip"));
        assert_eq!(kept("aws-chunked,gzip , br").as_deref(), Some("gzip,br"));
        assert_eq!(kept(""), None);
        assert_eq!(content_encoding(None), None);
    }

    #[test]
    fn tagging_headers_are_forms() {
        let tags = tagging_header(Some("a=1&b+c=%C3%A9&d")).unwrap();
        let expected = [("a", "1"), ("b c", "é"), ("d", "")];
        assert_eq!(tags, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert!(tagging_header(Some("a=%FF")).is_err());
        assert_eq!(tagging_header(None).unwrap(), []);
    }
}
