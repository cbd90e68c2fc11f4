//! The files behind a local chunk store: a small border at which tests inject faults.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, IoSlice, IoSliceMut, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::io::{Errno, ReadWriteFlags};

use crate::ids::PackId;

/// One open pack file.
pub trait PackFile: Send + Sync + fmt::Debug {
    /// Writes the front of `pieces` at the end of the file; gives how many bytes it took.
    ///
    /// # Errors
    /// Those of the file system; then it is unknown what was written.
    fn write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Waits until all that was written is on the disk.
    ///
    /// # Errors
    /// Those of the file system; then nothing is known to be on the disk, and asking again tells
    /// nothing.
    fn sync_data(&self) -> io::Result<()>;

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before; those of the file system.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Fills `buffer` from `offset` without waiting for the disk, and tells whether it could: false
    /// when some of the bytes are not in memory, and then `buffer` holds anything.
    ///
    /// # Errors
    /// Those of the file system.
    fn read_cached_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool>;

    /// Bytes of the file.
    ///
    /// # Errors
    /// Those of the file system.
    fn length(&self) -> io::Result<u64>;
}

/// A place for pack files.
pub trait PackFiles: Send + Sync + fmt::Debug {
    /// Makes a new file; its name is durable after [`PackFiles::sync_directory`].
    ///
    /// # Errors
    /// `AlreadyExists`; those of the file system.
    fn create(&self, pack: PackId) -> io::Result<Box<dyn PackFile>>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// `NotFound`; those of the file system.
    fn open(&self, pack: PackId) -> io::Result<Box<dyn PackFile>>;

    /// Waits until the names of all files are on the disk.
    ///
    /// # Errors
    /// Those of the file system.
    fn sync_directory(&self) -> io::Result<()>;

    /// Removes a file; its name is gone for good after [`PackFiles::sync_directory`].
    ///
    /// # Errors
    /// `NotFound`; those of the file system.
    fn remove(&self, pack: PackId) -> io::Result<()>;

    /// The packs that are here, in no order.
    ///
    /// # Errors
    /// Those of the file system.
    fn list(&self) -> io::Result<Vec<PackId>>;
}

/// Pack files in one directory, each named by its id.
#[derive(Clone, Debug)]
pub struct Directory(PathBuf);

const EXTENSION: &str = "pack";

impl Directory {
    /// The directory `path`, made when it is not there; readable by its owner only.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        if !path.is_dir() {
            let mut builder = std::fs::DirBuilder::new();
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.recursive(true).create(&path)?;
            if let Some(parent) = path.parent() {
                sync(parent)?;
            }
        }
        Ok(Self(path))
    }

    fn path(&self, pack: PackId) -> PathBuf {
        self.0.join(format!("{pack}.{EXTENSION}"))
    }
}

impl PackFiles for Directory {
    fn create(&self, pack: PackId) -> io::Result<Box<dyn PackFile>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create_new(true).mode(0o600);
        Ok(Box::new(file.open(self.path(pack))?))
    }

    fn open(&self, pack: PackId) -> io::Result<Box<dyn PackFile>> {
        Ok(Box::new(File::open(self.path(pack))?))
    }

    fn sync_directory(&self) -> io::Result<()> {
        sync(&self.0)
    }

    fn remove(&self, pack: PackId) -> io::Result<()> {
        std::fs::remove_file(self.path(pack))
    }

    fn list(&self) -> io::Result<Vec<PackId>> {
        let mut packs = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".pack"));
            packs.extend(id.and_then(|id| id.parse::<PackId>().ok()));
        }
        Ok(packs)
    }
}

impl PackFile for File {
    fn write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut file = self;
        Write::write_vectored(&mut file, pieces)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }

    fn read_cached_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        let wanted = buffer.len();
        let mut pieces = [IoSliceMut::new(buffer)];
        match rustix::io::preadv2(self, &mut pieces, offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => Ok(read == wanted),
            // Not in memory, or a file system or kernel that cannot tell.
            Err(Errno::AGAIN | Errno::INTR | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            Err(cause) => Err(cause.into()),
        }
    }

    fn length(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
