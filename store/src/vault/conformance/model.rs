//! What a vault should hold: names and bytes, and nothing else.

use std::{collections::BTreeMap, sync::OnceLock};

use bytes::Bytes;
use readvault_ambient::{Entropy, testing::SeededEntropy};

use super::Body;
use crate::{
    ids::DomainId,
    vault::{FileRef, Item},
};

/// Most bytes of a file.
pub(super) const FILE_BYTES_MAX: usize = 8 << 20;

/// Sequences from which bodies are taken.
const SEEDS: usize = 6;

/// Bytes of one such sequence.
const SEED_BYTES: usize = 5 << 19;

/// Files that are gone and are still looked for.
const GONE_MAX: usize = 8;

/// A file that has a name.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) bytes: Bytes,
    pub(super) file: FileRef,
    pub(super) item: Item,
    /// Version of the row that names it.
    pub(super) version: u64,
    /// Whether its bytes live in its manifest.
    pub(super) is_inline: bool,
    /// Whether its slot is its own, or was when it was made.
    pub(super) is_erasable: bool,
    pub(super) is_erased: bool,
}

impl Entry {
    /// The domain of its chunks; none when it has none.
    pub(super) fn domain(&self) -> Option<DomainId> {
        (!self.is_inline && !self.bytes.is_empty()).then_some(self.item.store.domain)
    }
}

/// All that should be seen.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) names: BTreeMap<u8, Entry>,
    /// Some files that were removed.
    pub(super) gone: Vec<FileRef>,
}

impl Model {
    /// `name` now is `entry`, or nothing; what it was is gone.
    pub(super) fn set(&mut self, name: u8, entry: Option<Entry>) {
        let before = match entry {
            Some(entry) => self.names.insert(name, entry),
            None => self.names.remove(&name),
        };
        if let Some(before) = before {
            self.gone.push(before.file);
            if self.gone.len() > GONE_MAX {
                self.gone.remove(0);
            }
        }
    }

    /// No file of `slot` can be opened any more.
    pub(super) fn erase(&mut self, slot: u64) {
        let covered = self.names.values_mut().filter(|entry| entry.item.slot == slot);
        covered.for_each(|entry| entry.is_erased = true);
    }
}

/// The bytes of `body`.
pub(super) fn bytes(body: Body) -> Bytes {
    static SEQUENCES: OnceLock<Vec<Bytes>> = OnceLock::new();
    let sequences = SEQUENCES.get_or_init(|| (0..SEEDS).map(sequence).collect());
    sequences[usize::from(body.seed) % SEEDS].slice(..body.length as usize)
}

fn sequence(seed: usize) -> Bytes {
    let mut bytes = vec![0; SEED_BYTES];
    SeededEntropy::new(seed as u64).fill(&mut bytes);
    bytes.into()
}
