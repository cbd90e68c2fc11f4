//! A bounded cache of descriptors of packs that are read.

use std::{collections::HashMap, io, sync::Arc};

use parking_lot::Mutex;

use super::files::PackFiles;
use crate::{disk::DiskFile, ids::PackId, usage::Usage};

/// Most descriptors that are kept.
const DESCRIPTORS_MAX: usize = 256;

#[derive(Debug)]
pub(super) struct Descriptors {
    files: Arc<PackFiles>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    files: HashMap<PackId, (Arc<dyn DiskFile>, u64)>,
    uses: u64,
}

impl Descriptors {
    pub(super) fn new(files: Arc<PackFiles>) -> Self {
        Self { files, open: Mutex::default() }
    }

    /// How many are open.
    pub(super) fn usage(&self) -> Usage {
        Usage::new("pack_descriptors", self.open.lock().files.len(), DESCRIPTORS_MAX)
    }

    /// The file of `pack` when it is open already.
    pub(super) fn open(&self, pack: PackId) -> Option<Arc<dyn DiskFile>> {
        self.open.lock().used(pack)
    }

    /// The file of `pack`; opens it, and lets go of the one unused for longest, where needed.
    pub(super) fn file(&self, pack: PackId) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.open.lock().used(pack) {
            return Ok(file);
        }
        // Two readers may open the same pack at once: one descriptor is then dropped again.
        let file: Arc<dyn DiskFile> = self.files.read(pack)?.into();
        self.open.lock().keep(pack, file.clone());
        Ok(file)
    }
}

impl Descriptors {
    /// Lets go of a pack, so that its space is free once its file is removed.
    pub(super) fn forget(&self, pack: PackId) {
        self.open.lock().files.remove(&pack);
    }
}

impl Open {
    fn used(&mut self, pack: PackId) -> Option<Arc<dyn DiskFile>> {
        self.uses += 1;
        let (file, last_use) = self.files.get_mut(&pack)?;
        *last_use = self.uses;
        Some(file.clone())
    }

    fn keep(&mut self, pack: PackId, file: Arc<dyn DiskFile>) {
        if self.files.len() >= DESCRIPTORS_MAX {
            let oldest = self.files.iter().min_by_key(|(_, (_, last_use))| *last_use);
            if let Some(oldest) = oldest.map(|(pack, _)| *pack) {
                self.files.remove(&oldest);
            }
        }
        self.files.insert(pack, (file, self.uses));
    }
}
