//! Keys at rest and in use: master keys, the key log, shred slots, and the keys that are open now.
//!
//! The vault asks [`VaultKeys`] for store, domain and item keys; the server makes a
//! [`KeyProvider`]. No key material leaves `seal` and `keys` except inside the key types. Bytes:
//! `docs/format.md` §6.

mod context;
mod entry;
mod item;
mod items;
mod keyring;
mod keyring_file;
mod log;
mod log_file;
mod open_keys;
mod provider;
mod rotation;
mod shred;
mod vault_keys;

pub use context::{Context, Purpose};
pub use entry::{DomainEntry, KeyEntry, StoreEntry};
pub use item::{ItemContext, new_item_key, open_item_key};
pub use keyring::Keyring;
pub use keyring_file::{KeySource, PassphraseCost};
pub use log::KeyLog;
pub use open_keys::{FRESH_MS_MAX, OpenStore, RENEW_AFTER_MS, STORE_KEY_MS_MAX};
pub use provider::{Available, KeyProvider, MasterKeys, MemoryKeyProvider, WrapKind, WrappedKey};
pub use rotation::KeyUsage;
pub use shred::{SLOT_BYTES, SLOTS_AHEAD, ShredSlots};
pub use vault_keys::{VaultKeys, VaultKeysParams};
