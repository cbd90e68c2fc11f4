//! ListObjects, ListObjectsV2, ListObjectVersions: one walk in the order of keys.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use readvault_store::{
    catalog::{Fold, Item, PAGE_ITEMS_MAX, ScanRange, after_prefix},
    ids::StoreId,
};

use super::{Objects, alias, key, shown::Shown};
use crate::{
    Fault, authorize::Permit, body::Algorithm, bucket::BucketKind, fault::Result,
    read_set::ReadSetStatus, tables,
};

/// Items of one page at most.
pub const PAGE_MAX: usize = PAGE_ITEMS_MAX;

/// Where a list begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At its first item.
    #[default]
    First,
    /// Behind this key, or behind the group that it stands for.
    After(String),
    /// Where a page before it ended.
    At(Cursor),
}

/// Where a page ended: a place among the keys of one bucket. It says nothing that the list itself
/// does not, and a made-up one only begins the list elsewhere, so it needs no signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub(super) Vec<u8>);

impl Cursor {
    /// Its text.
    #[must_use]
    pub fn text(&self) -> String {
        BASE64.encode(&self.0)
    }

    /// The cursor that `text` writes.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn parse(text: &str) -> Result<Self> {
        let bytes = BASE64.decode(text).ok().filter(|bytes| bytes.len() <= 4096);
        let bytes = bytes.ok_or_else(|| Fault::invalid("the continuation token is not valid"))?;
        Ok(Self(bytes))
    }
}

/// What shall be listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListObjects {
    /// What keys begin with.
    pub prefix: String,
    /// What ends a group.
    pub delimiter: Option<String>,
    /// Where the list begins.
    pub start: Start,
    /// Items at most; above [`PAGE_MAX`] it is that.
    pub limit: usize,
}

/// One item of a list.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// An object.
    Object(Listed),
    /// The common prefix of a group of keys.
    Prefix(String),
}

impl Entry {
    /// The key or common prefix.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Object(listed) => &listed.key,
            Self::Prefix(prefix) => prefix,
        }
    }
}

/// An object in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// Its ETag, without quotes.
    pub etag: String,
    /// Its length in bytes.
    pub length: u64,
    /// Milliseconds since 1970 at which it was put.
    pub modified_ms: u64,
    /// Algorithm of its checksum, and whether that is of parts.
    pub checksum: Option<(Algorithm, bool)>,
    /// Where the read set that it is a file of stands.
    pub read_set: Option<ReadSetStatus>,
}

/// A page of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// Its items, in the order of keys.
    pub entries: Vec<Entry>,
    /// Where the next page begins; none on the last.
    pub next: Option<Cursor>,
}

impl Objects {
    /// A page of the objects of a bucket, in the order of their keys as bytes. One scan, folded
    /// inside the catalog, whatever the number of keys.
    ///
    /// # Errors
    /// `NoSuchBucket`; those of the catalog.
    pub async fn list(&self, permit: &Permit, bucket: &str, list: &ListObjects) -> Result<Listing> {
        let _ = permit;
        let found = self.buckets().lookup(bucket).await?;
        if list.limit == 0 {
            return Ok(Listing::default());
        }
        match &found.kind {
            BucketKind::ReadSets { sequence_store } => {
                alias::list(self.core(), sequence_store, list).await
            }
            BucketKind::Objects { store, .. } => {
                let listing = self.walk(store.id, list).await?;
                if listing.entries.is_empty() {
                    self.buckets().must_exist(bucket).await?;
                }
                Ok(listing)
            }
        }
    }

    async fn walk(&self, bucket: StoreId, list: &ListObjects) -> Result<Listing> {
        let (range, fold) = plan(bucket, list);
        let limit = list.limit.min(PAGE_MAX);
        let page = self.core().catalog().scan(&range, &fold, limit).await?;
        let mut entries = Vec::with_capacity(page.items.len());
        for item in page.items {
            entries.push(match item {
                Item::Group(group) => Entry::Prefix(key::of_row(&group)?),
                Item::Row(row) => {
                    Entry::Object(listed(key::of_row(&row.key)?, Shown::of_row(&row.value)?))
                }
            });
        }
        let next = page.next.map(|next| Cursor(next[key::BUCKET_BYTES.min(next.len())..].to_vec()));
        Ok(Listing { entries, next })
    }
}

fn listed(key: String, shown: Shown) -> Listed {
    let Shown { etag, modified_ms, checksums, length } = shown;
    let composite = checksums.composite.as_ref().map(|(sum, _)| (sum.algorithm(), true));
    let whole = checksums.whole.first().map(|sum| (sum.algorithm(), false));
    Listed { key, etag, length, modified_ms, checksum: composite.or(whole), read_set: None }
}

fn plan(bucket: StoreId, list: &ListObjects) -> (ScanRange, Fold) {
    let prefix = key::prefix(bucket, &list.prefix);
    let fold = Fold {
        after: prefix.len(),
        delimiter: list.delimiter.as_deref().filter(|d| !d.is_empty()).map(key::escape),
        version_suffix: key::VERSION_BYTES,
    };
    let begin = match &list.start {
        Start::First => None,
        Start::At(cursor) => Some([bucket.as_bytes(), &cursor.0[..]].concat()),
        Start::After(marker) => match group(marker, list) {
            Some(group) => after_prefix(&key::prefix(bucket, group)),
            None => Some(key::beyond(bucket, marker)),
        },
    };
    let mut range = ScanRange::prefix(tables::OBJECTS, prefix.clone());
    if let Some(begin) = begin
        && begin > prefix
    {
        range = range.from(begin);
    }
    (range, fold)
}

/// The common prefix that `key` is listed as, if it is.
pub(super) fn group<'a>(key: &'a str, list: &ListObjects) -> Option<&'a str> {
    let delimiter = list.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty())?;
    let rest = key.strip_prefix(list.prefix.as_str())?;
    let at = rest.find(delimiter)?;
    Some(&key[..list.prefix.len() + at + delimiter.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_read_back_and_nonsense_is_refused() {
        let cursor = Cursor(vec![0, 255, 1, 47]);
        assert_eq!(Cursor::parse(&cursor.text()).unwrap(), cursor);
        assert!(Cursor::parse("not base64!").is_err());
        assert!(Cursor::parse(&"A".repeat(10_000)).is_err());
    }

    #[test]
    fn a_list_never_leaves_its_bucket_or_prefix() {
        let bucket = StoreId([7; 16]);
        for start in [
            Start::At(Cursor(vec![0xFF; 40])),
            Start::At(Cursor(vec![])),
            Start::After("zzz".into()),
            Start::After(String::new()),
        ] {
            let list = ListObjects { prefix: "p/".into(), start, limit: 5, ..Default::default() };
            let (range, fold) = plan(bucket, &list);
            let prefix = key::prefix(bucket, "p/");
            assert_eq!(fold.after, prefix.len());
            let std::ops::Bound::Included(begin) = range.start else { panic!("no start") };
            assert!(begin >= prefix);
            assert_eq!(range.end, std::ops::Bound::Excluded(after_prefix(&prefix).unwrap()));
        }
    }
}
