//! API-neutral operations: identity, authorization, buckets, read sets, jobs, runs.
//!
//! Each operation takes a [`authorize::Permit`] and answers a domain value or a [`Fault`]; the API crates
//! translate. Knows no HTTP and parses no genomic bytes. `core` is the ground: rows, ids, time; every
//! other module stands on it and on the vault.

pub mod authorize;
pub mod body;
pub mod bucket;
pub mod core;
pub mod dispatch;
pub mod erasure;
pub mod fault;
pub mod idempotency;
pub mod identity;
pub mod import;
pub mod inspection;
pub mod jobs;
pub mod kept;
pub mod listing;
pub mod multipart;
pub mod object;
pub mod read_set;
pub mod read_set_job;
pub mod read_set_upload;
pub mod record;
pub mod recover;
pub mod reference;
pub mod reference_store;
pub mod run;
pub mod run_log;
pub mod sequence_store;
pub mod tables;
pub mod tags;
pub mod task;
pub mod upkeep;
pub mod workflow;

pub use fault::{Fault, FaultKind};
