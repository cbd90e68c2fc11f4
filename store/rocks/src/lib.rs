//! The embedded catalog backend: RocksDB behind an encrypting Env.
//!
//! Keeps the promises of [`readvault_store::catalog::Catalog`] in one directory of one process.
//! Values are
//! sealed before RocksDB sees them; keys stay ordered for it and stand readable in no file. Not
//! here: what
//! a row means, and the key that opens it all, which the caller brings in a
//! [`RowSealer`](readvault_store::catalog::row::RowSealer).

mod catalog;
mod database;
mod env;
mod fault;
mod file_cipher;
mod log;
mod manifest;
mod observer;
mod open;
mod records;
mod settings;
mod slot;
mod wal;
mod writer;

pub use catalog::RocksCatalog;
#[cfg(feature = "testing")]
pub use open::Observed;
