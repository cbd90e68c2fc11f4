//! Item keys of a vault: made and opened through their store's key.

use std::sync::Arc;

use super::{
    ItemContext, VaultKeys,
    item::{new_item_key, open_item_key},
    open_keys::ItemName,
};
use crate::{
    Error, ErrorKind, Result,
    ids::ItemId,
    manifest::{IdBlock, KeyBlock},
    seal::ItemKey,
    vault::{Item, ItemKind, SlotChoice, Store},
};

impl VaultKeys {
    /// Makes a new item of `store` with a key of its own. Nothing is written but, once in thousands
    /// of calls, shred slots ahead.
    ///
    /// # Errors
    /// As [`VaultKeys::store_key`]; `KeyUnavailable` or `Corrupt` for a slot that was erased or is
    /// damaged.
    pub async fn new_item(&self, store: &Store, kind: ItemKind, slot: SlotChoice) -> Result<Item> {
        let entry = self.store_entry(store.id)?;
        if entry.account != store.account {
            return Err(Error::new(ErrorKind::InvalidInput, "store of another account"));
        }
        let store_key = self.store_key(store.id).await?;
        let slot = match slot {
            SlotChoice::Own => self.allot_slot().await?,
            SlotChoice::OfStore => entry.slot,
            SlotChoice::Same(slot) => slot,
        };
        let erasures = self.open.lock().erasures();
        let secret = self.slots.secret(slot)?;
        let id = ItemId::draw(&*self.entropy);
        let account = store.account.clone();
        let context = ItemContext { account, store: store.id, kind: kind as u8, item: id };
        let (key, wrapped_seed) = new_item_key(&context, &store_key, &secret, &*self.entropy);
        let name = ItemName { context, wrapped_seed: wrapped_seed.clone(), slot };
        self.open.lock().keep_item(name, Arc::new(key), erasures);
        let (store, store_key_epoch) = (store.clone(), entry.epoch);
        Ok(Item { store, id, kind, slot, store_key_epoch, wrapped_seed })
    }

    /// The key of an item, as its row describes it; served while its store's key is fresh.
    ///
    /// # Errors
    /// As [`VaultKeys::store_key`]; `KeyUnavailable` when its slot was erased; `Corrupt` when the
    /// seed or the slot is damaged, or not this item's.
    pub async fn item_key(&self, item: &Item) -> Result<Arc<ItemKey>> {
        let (account, store) = (item.store.account.clone(), item.store.id);
        let context = ItemContext { account, store, kind: item.kind as u8, item: item.id };
        let wrapped_seed = item.wrapped_seed.clone();
        self.open_item(ItemName { context, wrapped_seed, slot: item.slot }).await
    }

    /// The key of an item, as one of its manifests describes it.
    ///
    /// # Errors
    /// As [`VaultKeys::item_key`].
    pub async fn item_key_of(&self, id: &IdBlock, key: &KeyBlock) -> Result<Arc<ItemKey>> {
        let (account, store) = (id.account.clone(), id.store);
        let context = ItemContext { account, store, kind: id.kind, item: id.item };
        let wrapped_seed = key.wrapped_seed.clone();
        self.open_item(ItemName { context, wrapped_seed, slot: id.slot }).await
    }

    /// The key block of the manifests of `item`.
    ///
    /// # Errors
    /// `NotFound` when there is no such store.
    pub fn key_block(&self, item: &Item) -> Result<KeyBlock> {
        let entry = self.store_entry(item.store.id)?;
        Ok(KeyBlock {
            wrap: entry.wrapped.kind as u8,
            store_key_epoch: item.store_key_epoch,
            key_id: entry.wrapped.key_id.clone(),
            context: self.store_context(&entry.account, entry.store).encode(),
            wrapped_seed: item.wrapped_seed.clone(),
        })
    }

    async fn open_item(&self, name: ItemName) -> Result<Arc<ItemKey>> {
        let store_key = self.store_key(name.context.store).await?;
        if let Some(key) = self.open.lock().item(&name) {
            return Ok(key);
        }
        let erasures = self.open.lock().erasures();
        let secret = self.slots.secret(name.slot)?;
        let key = open_item_key(&name.context, &store_key, &secret, &name.wrapped_seed)?;
        let key = Arc::new(key);
        self.open.lock().keep_item(name, key.clone(), erasures);
        Ok(key)
    }
}
