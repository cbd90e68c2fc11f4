//! What lists of objects have in common.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use readvault_ops::{
    Fault,
    object::list::{Entry, Listed, Listing},
};
use s3s::dto;

use crate::{
    conditions::{etag, time},
    entity::archived,
    fault::Result,
};

/// Items of a page when a request does not say.
const PAGE_DEFAULT: usize = 1000;

/// What stays as it is under `encoding-type=url`.
const KEPT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b'*');

/// How texts of a list are written.
#[derive(Clone, Copy)]
pub(crate) struct Encoding {
    url: bool,
}

impl Encoding {
    /// The encoding that a request asks for.
    ///
    /// # Errors
    /// `InvalidArgument` for any but `url`.
    pub(crate) fn of(asked: Option<&dto::EncodingType>) -> Result<Self> {
        match asked.map(dto::EncodingType::as_str) {
            None => Ok(Self { url: false }),
            Some("url") => Ok(Self { url: true }),
            Some(_) => Err(Fault::invalid("the encoding type is 'url'").into()),
        }
    }

    /// A text as it is written.
    pub(crate) fn text(self, text: impl Into<String>) -> String {
        let text = text.into();
        if self.url { utf8_percent_encode(&text, KEPT).to_string() } else { text }
    }
}

/// Items of a page: a request's `max-keys`.
///
/// # Errors
/// `InvalidArgument` below 0.
pub(crate) fn limit(asked: Option<i32>) -> Result<usize> {
    match asked.map(usize::try_from) {
        None => Ok(PAGE_DEFAULT),
        Some(Ok(limit)) => Ok(limit.min(PAGE_DEFAULT)),
        Some(Err(_)) => Err(Fault::invalid("max-keys is not below 0").into()),
    }
}

/// A number of items as S3 writes it.
pub(crate) fn count(items: usize) -> Option<i32> {
    i32::try_from(items).ok()
}

/// The owner of everything.
pub(crate) fn owner(account: &str) -> dto::Owner {
    dto::Owner { display_name: None, id: Some(account.into()) }
}

/// The items of a list, parted into objects and common prefixes.
pub(crate) fn parted(listing: Listing) -> (Vec<Listed>, Vec<String>) {
    let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
    for entry in listing.entries {
        match entry {
            Entry::Object(listed) => objects.push(listed),
            Entry::Prefix(prefix) => prefixes.push(prefix),
        }
    }
    (objects, prefixes)
}

/// An object in a list.
pub(crate) fn object(listed: Listed, encoding: Encoding, owner: Option<dto::Owner>) -> dto::Object {
    let class = archived(listed.read_set).0;
    let class = class.map_or(dto::ObjectStorageClass::STANDARD, |_| "GLACIER");
    let (algorithm, kind) = checksum(&listed);
    dto::Object {
        key: Some(encoding.text(listed.key)),
        e_tag: etag(listed.etag),
        size: i64::try_from(listed.length).ok(),
        last_modified: time(listed.modified_ms),
        storage_class: Some(dto::ObjectStorageClass::from(class.to_owned())),
        checksum_algorithm: algorithm,
        checksum_type: kind,
        owner,
        ..Default::default()
    }
}

/// The checksum of an object in a list.
pub(crate) fn checksum(
    listed: &Listed,
) -> (Option<dto::ChecksumAlgorithmList>, Option<dto::ChecksumType>) {
    let Some((algorithm, composite)) = listed.checksum else { return (None, None) };
    let kind =
        if composite { dto::ChecksumType::COMPOSITE } else { dto::ChecksumType::FULL_OBJECT };
    let algorithm = dto::ChecksumAlgorithm::from_static(algorithm.name());
    (Some(vec![algorithm]), Some(dto::ChecksumType::from_static(kind)))
}

/// Common prefixes in a list.
pub(crate) fn prefixes(prefixes: Vec<String>, encoding: Encoding) -> Option<dto::CommonPrefixList> {
    let list: Vec<_> = prefixes
        .into_iter()
        .map(|prefix| dto::CommonPrefix { prefix: Some(encoding.text(prefix)) })
        .collect();
    (!list.is_empty()).then_some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_encoded_on_demand() {
        let url = Encoding::of(Some(&dto::EncodingType::from_static("url"))).unwrap();
        assert_eq!(url.text("a b/é+%.txt"), "a%20b/%C3%A9%2B%25.txt");
        assert_eq!(Encoding::of(None).unwrap().text("a b"), "a b");
        assert!(Encoding::of(Some(&dto::EncodingType::from_static("x"))).is_err());
        assert!(limit(Some(-1)).is_err());
        assert_eq!(limit(Some(0)).unwrap(), 0);
        assert_eq!(limit(Some(5000)).unwrap(), 1000);
    }
}
