//! HeadBucket and ListBuckets.

use readvault_store::catalog::{Fold, PAGE_ITEMS_MAX, ScanRange};

use super::{Bucket, Buckets};
use crate::{authorize::Permit, core::decode, fault::Result, tables};

/// A page of buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketPage {
    /// The buckets, by name.
    pub buckets: Vec<Bucket>,
    /// Name of the last bucket of this page, when there are more.
    pub next: Option<String>,
}

impl Buckets {
    /// The bucket `name`.
    ///
    /// # Errors
    /// `NoSuchBucket`; those of the catalog.
    pub async fn head(&self, permit: &Permit, name: &str) -> Result<Bucket> {
        let _ = permit;
        Ok(self.load(name).await?.value)
    }

    /// The buckets whose name begins with `prefix`, after `after`, at most `limit` (1 to 10,000).
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn list(
        &self,
        permit: &Permit,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<BucketPage> {
        let _ = permit;
        let mut range = ScanRange::prefix(tables::BUCKETS, prefix);
        if let Some(after) = after
            && after >= prefix
        {
            range = range.after(after);
        }
        let mut page = BucketPage::default();
        loop {
            let wanted = (limit - page.buckets.len()).min(PAGE_ITEMS_MAX);
            let found = self.core.catalog().scan(&range, &Fold::default(), wanted).await?;
            let next = found.next.clone();
            for row in found.rows() {
                page.buckets.push(decode(&row.value)?);
            }
            match next {
                None => return Ok(page),
                Some(_) if page.buckets.len() >= limit => {
                    page.next = page.buckets.last().map(|bucket| bucket.name.clone());
                    return Ok(page);
                }
                Some(next) => range = range.from(next),
            }
        }
    }
}
