//! The keys that are open now, and how long they may be used.
//!
//! Pure bookkeeping: times come in as arguments, keys go out as shared handles.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{ItemContext, WrappedKey};
use crate::{
    chunk::{ChunkSize, DomainKeys},
    ids::StoreId,
    seal::{ItemKey, StoreKey},
    usage::Usage,
};

/// How long after a master key's last successful call its store keys may be used, in milliseconds.
pub const FRESH_MS_MAX: u64 = 60_000;

/// When, after that call, the next use makes another, in milliseconds.
pub const RENEW_AFTER_MS: u64 = 40_000;

/// How long a store key stays unwrapped, in milliseconds.
pub const STORE_KEY_MS_MAX: u64 = 15 * 60_000;

const STORES_MAX: usize = 16 << 10;
const ITEMS_MAX: usize = 16 << 10;

/// A store that is open for writing: its domain's newest epoch.
#[derive(Debug)]
pub struct OpenStore {
    pub(super) keys: DomainKeys,
    pub(super) chunk_size: ChunkSize,
}

impl OpenStore {
    /// The keys that name its chunks.
    #[must_use]
    pub fn domain_keys(&self) -> &DomainKeys {
        &self.keys
    }

    /// The most bytes of one of its chunks.
    #[must_use]
    pub fn chunk_size(&self) -> ChunkSize {
        self.chunk_size
    }
}

/// What a cached item key was opened from: another seed, slot or context is another key.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct ItemName {
    pub(super) context: ItemContext,
    pub(super) wrapped_seed: Vec<u8>,
    pub(super) slot: u64,
}

/// How much longer a store key can be used.
#[derive(Debug)]
pub(super) enum Standing {
    /// It can.
    Fresh(Arc<StoreKey>),
    /// It can, but its master key should be asked again.
    Due(Arc<StoreKey>),
    /// It can't before its master key was asked.
    Stale,
}

#[derive(Debug)]
struct HeldStore {
    key: Arc<StoreKey>,
    /// What it was unwrapped from.
    wrapped: WrappedKey,
    opened: Duration,
    used: u64,
    domains: HashMap<(crate::ids::DomainId, u32), Arc<OpenStore>>,
}

#[derive(Debug)]
struct OpenItem {
    key: Arc<ItemKey>,
    used: u64,
}

#[derive(Debug, Default)]
pub(super) struct OpenKeys {
    stores: HashMap<StoreId, HeldStore>,
    items: HashMap<ItemName, OpenItem>,
    /// For each master key, when it last answered.
    answered: HashMap<String, Duration>,
    uses: u64,
    erasures: u64,
}

impl OpenKeys {
    pub(super) fn store(&mut self, id: StoreId, wrapped: &WrappedKey, now: Duration) -> Standing {
        self.uses += 1;
        let answered = self.answered.get(&wrapped.key_id);
        let Some(age) = answered.map(|answered| now.saturating_sub(*answered)) else {
            return Standing::Stale;
        };
        let uses = self.uses;
        let open = self.stores.get_mut(&id).filter(|open| open.wrapped == *wrapped);
        let Some(open) = open else { return Standing::Stale };
        let held = now.saturating_sub(open.opened);
        if age >= Duration::from_millis(FRESH_MS_MAX)
            || held >= Duration::from_millis(STORE_KEY_MS_MAX)
        {
            return Standing::Stale;
        }
        open.used = uses;
        let key = open.key.clone();
        if age >= Duration::from_millis(RENEW_AFTER_MS) {
            Standing::Due(key)
        } else {
            Standing::Fresh(key)
        }
    }

    /// The master key answered at `now`, which is when the call was made, with this key.
    pub(super) fn opened(
        &mut self,
        id: StoreId,
        wrapped: WrappedKey,
        key: StoreKey,
        now: Duration,
    ) -> Arc<StoreKey> {
        self.expire(now);
        self.answered.insert(wrapped.key_id.clone(), now);
        if self.stores.len() >= STORES_MAX && !self.stores.contains_key(&id) {
            let oldest = self.stores.iter().min_by_key(|(_, open)| open.used).map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                self.close(oldest);
            }
        }
        self.uses += 1;
        let (key, used) = (Arc::new(key), self.uses);
        let domains = self.stores.remove(&id).map(|open| open.domains).unwrap_or_default();
        let open = HeldStore { key: key.clone(), wrapped, opened: now, used, domains };
        self.stores.insert(id, open);
        key
    }

    /// The master key refused: nothing that it wrapped may be used any more.
    pub(super) fn refused(&mut self, key_id: &str) {
        self.answered.remove(key_id);
        let of_key = self.stores.iter().filter(|(_, open)| open.wrapped.key_id == key_id);
        let of_key: Vec<_> = of_key.map(|(id, _)| *id).collect();
        of_key.into_iter().for_each(|id| self.close(id));
    }

    /// Drops, and so wipes, the keys that may no longer be used at `now`.
    pub(super) fn expire(&mut self, now: Duration) {
        let expired = self.stores.iter().filter(|(_, open)| {
            let answered = self.answered.get(&open.wrapped.key_id);
            let fresh = answered.is_some_and(|answered| {
                now.saturating_sub(*answered) < Duration::from_millis(FRESH_MS_MAX)
            });
            !fresh || now.saturating_sub(open.opened) >= Duration::from_millis(STORE_KEY_MS_MAX)
        });
        let expired: Vec<_> = expired.map(|(id, _)| *id).collect();
        expired.into_iter().for_each(|id| self.close(id));
    }

    /// How many keys are open.
    pub(super) fn usage(&self) -> [Usage; 2] {
        [
            Usage::new("store_keys", self.stores.len(), STORES_MAX),
            Usage::new("item_keys", self.items.len(), ITEMS_MAX),
        ]
    }

    pub(super) fn domain(
        &self,
        store: StoreId,
        domain: (crate::ids::DomainId, u32),
    ) -> Option<Arc<OpenStore>> {
        self.stores.get(&store)?.domains.get(&domain).cloned()
    }

    pub(super) fn keep_domain(&mut self, store: StoreId, domain: Arc<OpenStore>) {
        if let Some(open) = self.stores.get_mut(&store) {
            open.domains.insert((domain.keys.domain(), domain.keys.epoch()), domain);
        }
    }

    pub(super) fn item(&mut self, name: &ItemName) -> Option<Arc<ItemKey>> {
        self.uses += 1;
        let open = self.items.get_mut(name)?;
        open.used = self.uses;
        Some(open.key.clone())
    }

    /// How many slots were erased: taken before a slot is read, for [`OpenKeys::keep_item`].
    pub(super) fn erasures(&self) -> u64 {
        self.erasures
    }

    /// Keeps a key, unless a slot was erased since `erasures` was taken: it might be this one's.
    pub(super) fn keep_item(&mut self, name: ItemName, key: Arc<ItemKey>, erasures: u64) {
        if !self.stores.contains_key(&name.context.store) || erasures != self.erasures {
            return;
        }
        if self.items.len() >= ITEMS_MAX {
            // Half go at once, so that the search for the oldest is paid once in thousands of
            // calls.
            let mut uses: Vec<_> = self.items.values().map(|open| open.used).collect();
            let middle = uses.len() / 2;
            let (_, median, _) = uses.select_nth_unstable(middle);
            let median = *median;
            self.items.retain(|_, open| open.used > median);
        }
        self.uses += 1;
        self.items.insert(name, OpenItem { key, used: self.uses });
    }

    /// Drops every item key that a slot covers.
    pub(super) fn forget_slot(&mut self, slot: u64) {
        self.erasures += 1;
        self.items.retain(|name, _| name.slot != slot);
    }

    fn close(&mut self, store: StoreId) {
        self.stores.remove(&store);
        self.items.retain(|name, _| name.context.store != store);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ids::ItemId, keys::WrapKind, seal::SecretKey};

    const STORE: StoreId = StoreId([3; 16]);

    fn wrapped() -> WrappedKey {
        WrappedKey { kind: WrapKind::Keyring, key_id: "master".into(), bytes: vec![1] }
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_key_is_asked_for_again_and_ends_when_its_master_does_not_answer() {
        let mut open = OpenKeys::default();
        open.opened(STORE, wrapped(), StoreKey::from_bytes(&[1; 32]), at(0));
        let mut standing = |ms| open.store(STORE, &wrapped(), at(ms));
        assert!(matches!(standing(RENEW_AFTER_MS - 1), Standing::Fresh(_)));
        assert!(matches!(standing(RENEW_AFTER_MS), Standing::Due(_)));
        assert!(matches!(standing(FRESH_MS_MAX - 1), Standing::Due(_)));
        assert!(matches!(standing(FRESH_MS_MAX), Standing::Stale));
    }

    #[test]
    fn a_key_that_was_read_before_an_erasure_is_not_kept_after_it() {
        let mut open = OpenKeys::default();
        open.opened(STORE, wrapped(), StoreKey::from_bytes(&[1; 32]), at(0));
        let context =
            ItemContext { account: "1".into(), store: STORE, kind: 3, item: ItemId([4; 16]) };
        let name = ItemName { context, wrapped_seed: vec![2], slot: 9 };
        let key = Arc::new(ItemKey::from_bytes(&[5; 32]));
        let before = open.erasures();
        open.forget_slot(9);
        open.keep_item(name.clone(), key.clone(), before);
        assert!(open.item(&name).is_none());
        open.keep_item(name.clone(), key, open.erasures());
        assert!(open.item(&name).is_some());
    }
}
