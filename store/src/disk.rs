//! The files of a vault: one small border for packs and keys, at which tests inject faults and record.
//!
//! `chunk_store` and `keys` reach files through a [`Disk`] only; [`LocalDisk`] is the real one. What
//! a file holds is none of its business. RocksDB brings files of its own (`readvault-store-rocks`).

mod local;
#[cfg(any(test, feature = "testing", feature = "conformance"))]
pub mod memory;
#[cfg(any(test, feature = "testing"))]
pub mod observed;
mod whole;

use std::{
    fmt,
    io::{self, IoSlice},
    path::{Path, PathBuf},
};

pub use local::LocalDisk;
pub use whole::write_all;
pub(crate) use whole::{open_or_make, read, replace, sync_parent, write_all_at};

/// For what a file is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenAs {
    /// For reading.
    Read,
    /// Made now, for reading and for writing at its end; refused when the name is taken. Its owner
    /// alone may read it.
    New,
    /// For writing at its end.
    Append,
    /// For reading and writing at any place.
    Update,
}

/// A place for files. Calls block.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens the file `path`. The name of a new one is durable after [`Disk::sync_directory`].
    ///
    /// # Errors
    /// `NotFound`; `AlreadyExists` for a new file; those of the file system.
    fn open(&self, path: &Path, how: OpenAs) -> io::Result<Box<dyn DiskFile>>;

    /// Gives the file `from` the name `to` instead, in place of whatever had it: as a whole or not at
    /// all. Durable after [`Disk::sync_directory`].
    ///
    /// # Errors
    /// Those of the file system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives the file `from` the further name `to`. Durable after [`Disk::sync_directory`].
    ///
    /// # Errors
    /// `AlreadyExists`; those of the file system.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes the name `path`. Durable after [`Disk::sync_directory`]. Who has the file open reads on.
    ///
    /// # Errors
    /// `NotFound`; those of the file system.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// What is in `directory`, in no order.
    ///
    /// # Errors
    /// `NotFound`; those of the file system.
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>>;

    /// Makes `directory`, and those that it lies in, unless it is there; open to its owner alone.
    /// Durable when it returns.
    ///
    /// # Errors
    /// Those of the file system.
    fn make_directory(&self, directory: &Path) -> io::Result<()>;

    /// Waits until the names in `directory` are on the disk.
    ///
    /// # Errors
    /// Those of the file system.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
}

/// One open file. Calls block.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Writes the front of `pieces` at the end of the file; gives how many bytes it took. For files
    /// opened as `New` or `Append`.
    ///
    /// # Errors
    /// Those of the file system; then it is unknown what was written.
    fn write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Writes the front of `bytes` at `offset`; gives how many it took. For files opened as `Update`.
    ///
    /// # Errors
    /// Those of the file system; then it is unknown what was written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

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
