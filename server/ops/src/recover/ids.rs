//! Numbers: what was given once is never given again.

use std::collections::BTreeMap;

use readvault_store::catalog::{Commit, Fold, PAGE_ITEMS_MAX, RowKey, ScanRange};

use super::Recovery;
use crate::{
    core::{Counter, FLOOR, decode, encode},
    fault::Result,
    tables,
};

/// Numbers that every family leaves out after a rebuild: room for those that were given and that no row
/// tells of any more.
pub const NUMBERS_LEFT_OUT: u64 = 1_000_000;

impl Recovery<'_> {
    /// Raises every counter above the numbers that are known to be taken.
    pub(super) async fn raise_ids(&self) -> Result<()> {
        let mut next: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        let range = ScanRange::prefix(tables::IDS, []);
        let page = self.core.catalog().scan(&range, &Fold::default(), PAGE_ITEMS_MAX).await?;
        for row in page.rows() {
            next.insert(row.key.clone(), decode::<Counter>(&row.value)?.next);
        }
        for (family, number) in &self.taken {
            let counter = next.entry(family.as_bytes().to_vec()).or_default();
            *counter = (*counter).max(number + 1);
        }
        // Of a family without a row: how far above its first number it begins.
        next.entry(FLOOR.as_bytes().to_vec()).or_default();
        let mut commit = Commit::new();
        for (family, number) in next {
            let counter = Counter { next: number + NUMBERS_LEFT_OUT };
            commit.put(RowKey::new(tables::IDS, family), encode(&counter));
        }
        self.core.commit(commit).await.map(drop)
    }
}
