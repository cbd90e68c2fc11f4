//! Locks that order the commits of one process on one key.
//!
//! A refused commit voids what was staged for it, so two uploads of one key must not decide at the
//! same time. Between processes the catalog's checks decide; then the loser is told to try again.

use std::hash::{BuildHasher as _, RandomState};

use tokio::sync::{Mutex, MutexGuard};

use readvault_store::catalog::RowKey;

/// Number of locks; two keys share one by chance only.
const LOCKS: usize = 1024;

/// Locks of keys.
#[derive(Debug)]
pub(crate) struct KeyLocks {
    locks: Vec<Mutex<()>>,
    hasher: RandomState,
}

impl Default for KeyLocks {
    fn default() -> Self {
        let locks = std::iter::repeat_with(Mutex::default).take(LOCKS).collect();
        Self { locks, hasher: RandomState::new() }
    }
}

impl KeyLocks {
    /// Waits for the lock of `row`.
    pub(crate) async fn lock(&self, row: &RowKey) -> MutexGuard<'_, ()> {
        let hash = self.hasher.hash_one(&row.key);
        let index = usize::try_from(hash % LOCKS as u64).expect("a number of locks is small");
        self.locks[index].lock().await
    }
}
