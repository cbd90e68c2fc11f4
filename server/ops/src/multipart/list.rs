//! ListMultipartUploads and ListParts.

use readvault_store::catalog::{Fold, Item, PAGE_ITEMS_MAX, ScanRange, after_prefix};

use super::{Multiparts, Part, Upload, UploadName, UploadState, part_prefix, part_row};
use crate::{authorize::Permit, core::decode, fault::Result, object::key, tables};

/// Bytes of a row key behind the escaped key and its 00: the upload's id.
const ID_BYTES: usize = 32;

/// What uploads shall be listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListUploads {
    /// What keys begin with.
    pub prefix: String,
    /// What ends a group.
    pub delimiter: Option<String>,
    /// The list begins behind the uploads of this key …
    pub key_marker: Option<String>,
    /// … or, with this, behind this upload of it.
    pub upload_marker: Option<String>,
    /// Items at most (1 to 1,000).
    pub limit: usize,
}

/// A page of uploads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadPage {
    /// The uploads, by key and id.
    pub uploads: Vec<Upload>,
    /// The common prefixes of groups.
    pub prefixes: Vec<String>,
    /// Key (or common prefix) and id of the last item, when there are more.
    pub next: Option<(String, String)>,
}

/// A page of parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartPage {
    /// The upload.
    pub upload: Upload,
    /// Its parts, by number.
    pub parts: Vec<Part>,
    /// Number of the last part of this page, when there are more.
    pub next: Option<u32>,
}

impl Multiparts {
    /// A page of the uploads of a bucket that take parts.
    ///
    /// # Errors
    /// `NoSuchBucket`; `Immutable` for the alias of a sequence store; those of the catalog.
    pub async fn list(
        &self,
        permit: &Permit,
        bucket: &str,
        list: &ListUploads,
    ) -> Result<UploadPage> {
        let _ = permit;
        let store = self.objects.buckets().head(permit, bucket).await?.objects()?.id;
        let prefix = key::prefix(store, &list.prefix);
        let fold = Fold {
            after: prefix.len(),
            delimiter: list.delimiter.as_deref().filter(|d| !d.is_empty()).map(key::escape),
            version_suffix: 0,
        };
        let mut range = ScanRange::prefix(tables::MULTIPARTS, prefix.clone());
        if let Some(begin) = begin(store, list)
            && begin > prefix
        {
            range = range.from(begin);
        }
        let limit = list.limit.clamp(1, PAGE_ITEMS_MAX);
        let page = self.core().catalog().scan(&range, &fold, limit).await?;
        let mut found = UploadPage::default();
        let mut last = None;
        for item in page.items {
            match item {
                Item::Group(group) => {
                    let group = key::of_row(&group)?;
                    last = Some((group.clone(), String::new()));
                    found.prefixes.push(group);
                }
                Item::Row(row) => {
                    let upload: Upload = decode(&row.value)?;
                    last = Some((upload.key.clone(), upload.id.clone()));
                    if upload.state == UploadState::Open {
                        found.uploads.push(upload);
                    }
                }
            }
        }
        if page.next.is_some() {
            found.next = last;
        }
        Ok(found)
    }

    /// A page of at most `limit` (1 to 1,000) parts of an upload, behind the part `after`.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchUpload`; `Immutable` for the alias of a sequence store.
    pub async fn list_parts(
        &self,
        permit: &Permit,
        name: &UploadName<'_>,
        after: u32,
        limit: usize,
    ) -> Result<PartPage> {
        let _ = permit;
        let upload = self.open(name).await?.upload.value;
        let range = ScanRange::prefix(tables::PARTS, part_prefix(name.id));
        let range = range.after(part_row(name.id, after).key);
        let limit = limit.clamp(1, PAGE_ITEMS_MAX);
        let page = self.core().catalog().scan(&range, &Fold::default(), limit).await?;
        let more = page.next.is_some();
        let parts: Vec<Part> = page.rows().map(|row| decode(&row.value)).collect::<Result<_>>()?;
        let next = parts.last().filter(|_| more).map(|part| part.number);
        Ok(PartPage { upload, parts, next })
    }
}

fn begin(store: readvault_store::ids::StoreId, list: &ListUploads) -> Option<Vec<u8>> {
    let marker = list.key_marker.as_deref()?;
    let group = list.delimiter.as_deref().filter(|d| !d.is_empty()).and_then(|delimiter| {
        let rest = marker.strip_prefix(list.prefix.as_str())?;
        let at = rest.find(delimiter)?;
        Some(&marker[..list.prefix.len() + at + delimiter.len()])
    });
    if let Some(group) = group {
        return after_prefix(&key::prefix(store, group));
    }
    match list.upload_marker.as_deref() {
        Some(id) if id.len() == ID_BYTES => {
            let mut begin = super::row(store, marker, id).key;
            begin.push(0);
            Some(begin)
        }
        _ => Some(key::beyond(store, marker)),
    }
}
