//! Backups: what is copied, where it goes, and the list by which it is checked.
//!
//! A destination holds one backup, the newest: the packs, a checkpoint of the catalog and the key log. What
//! opens them, the keyring and the shred slots, goes to a place of its own, newest copy only: so a read
//! set that was erased stays erased, and neither place alone opens anything. Files only: no key is used here.

pub mod copy;
pub mod files;
pub mod list;
pub mod verify;

/// Name of the list in a destination; a backup is whole when it is there.
pub const LIST: &str = "backup.json";

/// Name of the note in the place of the keys.
pub const KEYS_NOTE: &str = "keys.json";

/// Files of the place of keys that are there in every vault.
pub const KEY_FILES: [&str; 3] = ["keyring", "shred.slots", "shred.slots.copy"];

/// The directory of erasure receipts, in a data directory and in the place of keys.
pub const RECEIPTS: &str = "receipts";

/// The key log.
pub const KEY_LOG: &str = "keys.log";
