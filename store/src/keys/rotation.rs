//! Rotation of master keys: which of them wraps what, and wrapping all of it again under the newest.
//!
//! Rewraps keys and nothing else: what they seal stays as it is. A rotation that is cut short at any point
//! leaves every key open and is finished by another [`VaultKeys::rewrap`].

use std::collections::BTreeMap;

use super::{Context, KeyEntry, MasterKeys, Purpose, StoreEntry, VaultKeys, WrappedKey};
use crate::{
    Error, ErrorKind, Result,
    seal::{SecretKey, same},
};

/// Keys that are rewrapped by one append to the key log.
const BATCH_KEYS: usize = 256;

/// How many keys of the vault one master key wraps. Domain secrets and item seeds are sealed under store
/// keys, so they count here by their stores.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeyUsage {
    /// The vault key and the catalog key, 0 to 2.
    pub of_vault: u64,
    /// Store keys.
    pub of_stores: u64,
}

impl VaultKeys {
    /// Every master key that wraps something now, by its name, and how much.
    #[must_use]
    pub fn wraps(&self) -> BTreeMap<String, KeyUsage> {
        let mut usage: BTreeMap<String, KeyUsage> = BTreeMap::new();
        for entry in self.wrapped_now() {
            let Some(wrapped) = wrapped(&entry) else { continue };
            let of_key = usage.entry(wrapped.key_id.clone()).or_default();
            match entry {
                KeyEntry::Store(_) => of_key.of_stores += 1,
                _ => of_key.of_vault += 1,
            }
        }
        usage
    }

    /// Name of the master key that wraps new keys now.
    #[must_use]
    pub fn newest_master_key(&self) -> String {
        self.provider.newest()
    }

    /// How many keys an older master key wraps: more than none means that a rotation is not finished.
    #[must_use]
    pub fn stale(&self) -> u64 {
        self.wrapped_stale().len() as u64
    }

    /// Wraps every key that an older master key wraps again, under the newest, some hundred at a time;
    /// `told` hears how many are done, and of how many. Gives their count. Each batch is durable before
    /// the next; dropping the future leaves the rest as it was. Uploads and reads go on meanwhile.
    ///
    /// # Errors
    /// `KeyUnavailable` when a master key can't be used; `Corrupt` when a key does not open, or not to
    /// itself again; `NoSpace`, `Unavailable`.
    pub async fn rewrap(&self, told: &(dyn Fn(u64, u64) + Send + Sync)) -> Result<u64> {
        let mut done = 0;
        loop {
            // No store is made meanwhile, so none slips through under an older master key.
            let _creating = self.creating.lock().await;
            let stale = self.wrapped_stale();
            told(done, done + stale.len() as u64);
            if stale.is_empty() {
                return Ok(done);
            }
            let mut entries = Vec::with_capacity(stale.len().min(BATCH_KEYS));
            for entry in stale.into_iter().take(BATCH_KEYS) {
                entries.push(self.rewrapped(entry).await?);
            }
            done += entries.len() as u64;
            self.append(entries).await?;
        }
    }

    /// Takes the master key `name` out of `master_keys`. It opens older copies of the key log no more;
    /// whoever holds a copy of it still opens what he holds.
    ///
    /// # Errors
    /// `Precondition` when it wraps a key of this vault, or is the newest; those of
    /// [`MasterKeys::retire`].
    pub async fn retire(&self, master_keys: &dyn MasterKeys, name: &str) -> Result<()> {
        let _creating = self.creating.lock().await;
        if self.wraps().contains_key(name) {
            let what = format!("the master key {name} still wraps keys of this vault");
            return Err(Error::new(ErrorKind::Precondition, what));
        }
        master_keys.retire(name)
    }

    async fn rewrapped(&self, entry: KeyEntry) -> Result<KeyEntry> {
        let vault = self.vault();
        Ok(match entry {
            KeyEntry::Vault(old) => KeyEntry::Vault(
                self.same_key(&old, &Context { vault, purpose: Purpose::Vault }).await?,
            ),
            KeyEntry::Catalog(old) => {
                let context = Context { vault, purpose: Purpose::Catalog };
                KeyEntry::Catalog(self.same_key(&old, &context).await?)
            }
            KeyEntry::Store(entry) => {
                let context = self.store_context(&entry.account, entry.store);
                let wrapped = self.same_key(&entry.wrapped, &context).await?;
                KeyEntry::Store(StoreEntry { wrapped, ..entry })
            }
            domain @ KeyEntry::Domain(_) => domain,
        })
    }

    /// The key of `old`, wrapped again; checked to open to itself before anybody relies on it.
    async fn same_key(&self, old: &WrappedKey, context: &Context) -> Result<WrappedKey> {
        let new = self.provider.rewrap(old, context).await?;
        let before = self.provider.unwrap(old, context).await?;
        let after = self.provider.unwrap(&new, context).await?;
        if same(before.expose(), after.expose()) {
            Ok(new)
        } else {
            Err(Error::corrupt("a key that was wrapped again"))
        }
    }

    fn wrapped_stale(&self) -> Vec<KeyEntry> {
        let newest = self.provider.newest();
        let mut stale = self.wrapped_now();
        stale.retain(|entry| wrapped(entry).is_some_and(|wrapped| wrapped.key_id != newest));
        stale
    }

    /// The newest entry of every key that a master key wraps: VK, CATK, then the store keys.
    fn wrapped_now(&self) -> Vec<KeyEntry> {
        let log = self.log.lock();
        let newest =
            |is: fn(&KeyEntry) -> bool| log.entries().iter().rev().find(|entry| is(entry)).cloned();
        let vault = newest(|entry| matches!(entry, KeyEntry::Vault(_)));
        let catalog = newest(|entry| matches!(entry, KeyEntry::Catalog(_)));
        let stores = log.stores().map(|entry| KeyEntry::Store(entry.clone()));
        vault.into_iter().chain(catalog).chain(stores).collect()
    }
}

/// What a master key wraps in `entry`.
fn wrapped(entry: &KeyEntry) -> Option<&WrappedKey> {
    match entry {
        KeyEntry::Vault(wrapped) | KeyEntry::Catalog(wrapped) => Some(wrapped),
        KeyEntry::Store(entry) => Some(&entry.wrapped),
        KeyEntry::Domain(_) => None,
    }
}
