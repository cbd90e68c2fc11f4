//! Item keys: a seed sealed under the store's key, and a secret in a shred slot.

use readvault_ambient::Entropy;

use crate::{
    ids::{ItemId, StoreId},
    seal::{
        ItemKey, ItemSeed, RecordError, Salted, SecretKey, ShredSecret, StoreKey,
        extract_and_expand, open_salted, put_lp, seal_salted,
    },
};

/// Whose key it is: the seed is bound to it, and the key derived with it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ItemContext {
    /// The account that owns the store.
    pub account: String,
    /// The store.
    pub store: StoreId,
    /// What the item is, as a byte.
    pub kind: u8,
    /// The item.
    pub item: ItemId,
}

impl ItemContext {
    /// LP(account) LP(store) LP(kind) LP(item).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(80);
        put_lp(&mut out, self.account.as_bytes());
        put_lp(&mut out, &self.store.0);
        put_lp(&mut out, &[self.kind]);
        put_lp(&mut out, &self.item.0);
        out
    }
}

/// Makes the key of a new item; gives it with its sealed seed.
#[must_use]
pub fn new_item_key(
    context: &ItemContext,
    store_key: &StoreKey,
    slot: &ShredSecret,
    entropy: &dyn Entropy,
) -> (ItemKey, Vec<u8>) {
    let seed = ItemSeed::draw(entropy);
    let bound_to = context.encode();
    let salted = Salted { label: "item-seed", aad: &bound_to };
    let wrapped = seal_salted(store_key, salted, seed.expose(), entropy);
    (derive(&seed, slot, &bound_to), wrapped)
}

/// Opens an item's key from its sealed seed. A wrong slot secret gives another key, which no
/// manifest of the item commits to.
///
/// # Errors
/// `Length` or `Authentication` when the seed is not this item's or was changed.
pub fn open_item_key(
    context: &ItemContext,
    store_key: &StoreKey,
    slot: &ShredSecret,
    wrapped_seed: &[u8],
) -> Result<ItemKey, RecordError> {
    let bound_to = context.encode();
    let salted = Salted { label: "item-seed", aad: &bound_to };
    let seed = open_salted(store_key, salted, wrapped_seed)?;
    let seed = ItemSeed::from_bytes(seed.as_slice().try_into().map_err(|_| RecordError::Length)?);
    Ok(derive(&seed, slot, &bound_to))
}

fn derive(seed: &ItemSeed, slot: &ShredSecret, bound_to: &[u8]) -> ItemKey {
    extract_and_expand(seed, slot.expose(), "item", &[bound_to])
}
