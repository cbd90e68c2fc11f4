//! The S3 adapter over s3s.
//!
//! Translates between S3's requests and the operations of `readvault-ops`, one file an operation,
//! and nothing else: signatures, XML and headers are s3s' work, decisions are the operations'.
//! `s3s` types don't leave this crate, but for the service itself. What is answered how:
//! `docs/s3-compat.md`.

mod access;
mod acl;
mod api;
mod auth;
mod body;
mod checksums;
mod conditions;
mod entity;
mod fault;
mod host;
mod list;
mod operation;
mod refuse;
mod service;
mod write;

pub use fault::refused;
pub use service::{S3, S3Parts, S3Vault, service};
