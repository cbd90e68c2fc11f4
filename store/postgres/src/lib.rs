//! The catalog in a PostgreSQL database.
//!
//! Keeps the promises of [`readvault_store::catalog::Catalog`] over a network or a unix socket. Values are
//! sealed before they leave this process; keys of rows are readable to the database, its logs, replicas
//! and backups. One server writes at a time: who opens the database fences off whoever had it open before.
//! Not here: what a row means, and the key that opens it all, which the caller brings in a
//! [`RowSealer`](readvault_store::catalog::row::RowSealer).

mod catalog;
mod connect;
mod database;
mod examine;
mod export;
mod fault;
mod fence;
mod group;
mod link;
mod load;
mod patience;
mod readers;
mod scan;
mod schema;
mod statements;
mod writer;

pub use catalog::{PostgresCatalog, PostgresParams};
pub use connect::{Address, READ_CONNECTIONS_MAX};
pub use examine::{Findings, examine};
pub use export::CHECKPOINT_FILE;
pub use schema::KEY_BYTES_MAX;
