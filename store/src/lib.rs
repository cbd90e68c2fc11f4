//! The vault: sealing scheme RV1, packs, keys, the catalog trait and its memory twin.
//!
//! `vault` joins the rooms below it; `chunk`, `seal`, `pack`, `keys` and `catalog` import no vault, and
//! `seal` and `chunk` do no I/O. Knows nothing of HTTP and nothing of genomics formats.

pub mod catalog;
pub mod checkpoints;
pub mod chunk;
pub mod chunk_store;
pub mod disk;
pub mod error;
mod hexed;
pub mod ids;
pub mod keys;
pub mod manifest;
pub mod pack;
pub mod receipts;
pub mod seal;
pub mod space;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod usage;
pub mod vault;

pub use error::{Error, ErrorKind, Result};
