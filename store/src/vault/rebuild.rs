//! Rebuilding a catalog from the packs: over its newest checkpoint, or over nothing.
//!
//! Three steps, in order: [`survey`] reads what the packs say of themselves; [`replay`] writes the rows of
//! chunks and manifests as the last event of each says; [`Rebuild`] gives the visible files to whoever
//! writes the rows that name them. All may run again. Offline: nothing else uses the vault meanwhile.

mod dangling;
mod found;
mod replay;
mod survey;
#[cfg(test)]
mod tests;

pub use found::{Found, Rebuild};
pub use replay::{Replayed, replay};
pub use survey::{Survey, survey};

use std::sync::Arc;

use crate::{catalog::Catalog, chunk_store::LocalChunkStore, keys::VaultKeys};

/// What a rebuild works on.
#[derive(Clone, Debug)]
pub struct RebuildParams {
    /// The catalog that is rebuilt, with [`TABLES`](super::TABLES) open; nobody else uses it.
    pub catalog: Arc<dyn Catalog>,
    /// The packs; nothing is appended.
    pub chunks: Arc<LocalChunkStore>,
    /// The keys.
    pub keys: Arc<VaultKeys>,
}

/// What is told while a rebuild goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Packs that were read.
    pub packs: u64,
    /// Packs that there are.
    pub packs_all: u64,
    /// Chunk records met.
    pub chunks: u64,
    /// Manifest records met.
    pub manifests: u64,
}

/// Hears of progress.
pub type Told<'a> = &'a (dyn Fn(Progress) + Send + Sync);
