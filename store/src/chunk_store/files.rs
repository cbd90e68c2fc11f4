//! Pack files of one directory, each named by its id.

use std::{io, path::PathBuf, sync::Arc};

use crate::{
    disk::{Disk, DiskFile, OpenAs},
    ids::PackId,
};

/// Packs in one directory of a disk.
#[derive(Clone, Debug)]
pub(super) struct PackFiles {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
}

const EXTENSION: &str = "pack";

impl PackFiles {
    /// The packs of `directory`, made when it is not there.
    pub(super) fn open(disk: Arc<dyn Disk>, directory: PathBuf) -> io::Result<Self> {
        disk.make_directory(&directory)?;
        Ok(Self { disk, directory })
    }

    /// Makes a new pack; its name is durable when it returns.
    pub(super) fn create(&self, pack: PackId) -> io::Result<Box<dyn DiskFile>> {
        let file = self.disk.open(&self.path(pack), OpenAs::New)?;
        self.disk.sync_directory(&self.directory)?;
        Ok(file)
    }

    /// Opens a pack for reading.
    pub(super) fn read(&self, pack: PackId) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(&self.path(pack), OpenAs::Read)
    }

    /// Removes a pack; its name is gone for good when it returns.
    pub(super) fn remove(&self, pack: PackId) -> io::Result<()> {
        let removed = self.disk.remove(&self.path(pack));
        self.disk.sync_directory(&self.directory)?;
        removed
    }

    /// The packs that are here, in no order.
    pub(super) fn list(&self) -> io::Result<Vec<PackId>> {
        let packs = self.disk.list(&self.directory)?.into_iter().filter_map(|path| {
            let is_pack = path.extension().is_some_and(|extension| extension == EXTENSION);
            let name = path.file_stem().filter(|_| is_pack)?.to_str()?;
            name.parse::<PackId>().ok()
        });
        Ok(packs.collect())
    }

    fn path(&self, pack: PackId) -> PathBuf {
        self.directory.join(format!("{pack}.{EXTENSION}"))
    }
}
