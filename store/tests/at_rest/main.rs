//! Bytes at rest: their format held by vectors and a second cipher, their promises by hostile
//! input, and the stores that keep them.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod chunk_store;
mod directory;
mod hostile;
mod keys;
mod rotation;
mod sample;
mod second_aead;
mod throughput;
mod vectors;
