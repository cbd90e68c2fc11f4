//! A disk that tells an observer of every operation and fails those that it chooses: for campaigns.

use std::{
    fmt,
    io::{self, IoSlice},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Disk, DiskFile, OpenAs};

/// An operation on files that is about to happen.
#[derive(Clone, Copy, Debug)]
pub enum Operation<'a> {
    /// A new, empty file has this name; RocksDB takes the name from an older file.
    Create(&'a Path),
    /// An existing file is opened.
    Open(&'a Path),
    /// Bytes are written, at the end of the file where no offset is given.
    Write {
        /// The file.
        path: &'a Path,
        /// Where.
        offset: Option<u64>,
        /// What.
        bytes: &'a [u8],
    },
    /// The file is cut, or filled up with zeros.
    Truncate(&'a Path, u64),
    /// The file's bytes are made durable.
    Sync(&'a Path),
    /// The file is closed.
    Close(&'a Path),
    /// Bytes are read.
    Read(&'a Path),
    /// The first name is replaced by the second.
    Rename(&'a Path, &'a Path),
    /// The file of the first name has the second, too.
    Link(&'a Path, &'a Path),
    /// The name is removed.
    Remove(&'a Path),
    /// The names in a directory are read.
    List(&'a Path),
    /// A directory is made and its name is durable.
    MakeDirectory(&'a Path),
    /// The names in a directory are made durable.
    SyncDirectory(&'a Path),
}

/// What an observer says to an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Do it. The number comes back with [`Observer::end`].
    Go(u64),
    /// Fail with this number of the operating system, and do nothing.
    Fail(i32),
    /// Write only so many bytes. A caller of the operating system learns how many; RocksDB, whose own files write
    /// on until something fails, gets `ENOSPC`.
    Short(usize),
}

/// Sees every operation on files before it happens, and after it succeeded.
pub trait Observer: Send + Sync + fmt::Debug {
    /// Decides what becomes of `operation`.
    fn begin(&self, operation: &Operation<'_>) -> Verdict;

    /// `operation`, to which [`Observer::begin`] said `Go(ticket)`, succeeded.
    fn end(&self, operation: &Operation<'_>, ticket: u64);
}

/// The files of another disk, observed.
#[derive(Clone, Debug)]
pub struct ObservedDisk {
    under: Arc<dyn Disk>,
    observer: Arc<dyn Observer>,
}

#[derive(Debug)]
struct ObservedFile {
    under: Box<dyn DiskFile>,
    path: PathBuf,
    observer: Arc<dyn Observer>,
}

impl ObservedDisk {
    /// The files of `under`, as `observer` allows.
    pub fn new(under: Arc<dyn Disk>, observer: Arc<dyn Observer>) -> Self {
        Self { under, observer }
    }
}

/// Asks, does, tells.
fn observe<T>(
    observer: &dyn Observer,
    operation: &Operation<'_>,
    act: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    match observer.begin(operation) {
        Verdict::Go(ticket) => {
            let done = act()?;
            observer.end(operation, ticket);
            Ok(done)
        }
        Verdict::Fail(number) => Err(io::Error::from_raw_os_error(number)),
        Verdict::Short(_) => Err(io::ErrorKind::WriteZero.into()),
    }
}

impl Disk for ObservedDisk {
    fn open(&self, path: &Path, how: OpenAs) -> io::Result<Box<dyn DiskFile>> {
        let operation = match how {
            OpenAs::New => Operation::Create(path),
            _ => Operation::Open(path),
        };
        let under = observe(&*self.observer, &operation, || self.under.open(path, how))?;
        let (path, observer) = (path.to_owned(), self.observer.clone());
        Ok(Box::new(ObservedFile { under, path, observer }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let operation = Operation::Rename(from, to);
        observe(&*self.observer, &operation, || self.under.rename(from, to))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        observe(&*self.observer, &Operation::Link(from, to), || self.under.link(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        observe(&*self.observer, &Operation::Remove(path), || self.under.remove(path))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        observe(&*self.observer, &Operation::List(directory), || self.under.list(directory))
    }

    fn make_directory(&self, directory: &Path) -> io::Result<()> {
        let operation = Operation::MakeDirectory(directory);
        observe(&*self.observer, &operation, || self.under.make_directory(directory))
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let operation = Operation::SyncDirectory(directory);
        observe(&*self.observer, &operation, || self.under.sync_directory(directory))
    }
}

impl ObservedFile {
    fn write(
        &self,
        bytes: &[u8],
        offset: Option<u64>,
        act: impl FnOnce(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let operation = Operation::Write { path: &self.path, offset, bytes };
        match self.observer.begin(&operation) {
            Verdict::Go(ticket) => {
                let taken = act(bytes)?;
                self.observer.end(&operation, ticket);
                Ok(taken)
            }
            Verdict::Fail(number) => Err(io::Error::from_raw_os_error(number)),
            Verdict::Short(some) => act(&bytes[..some.min(bytes.len())]),
        }
    }
}

impl DiskFile for ObservedFile {
    fn write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        self.write(&bytes, None, |bytes| self.under.write_vectored(&[IoSlice::new(bytes)]))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.write(bytes, Some(offset), |bytes| self.under.write_at(bytes, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        observe(&*self.observer, &Operation::Sync(&self.path), || self.under.sync_data())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let operation = Operation::Read(&self.path);
        observe(&*self.observer, &operation, || self.under.read_exact_at(buffer, offset))
    }

    fn read_cached_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        let operation = Operation::Read(&self.path);
        observe(&*self.observer, &operation, || self.under.read_cached_at(buffer, offset))
    }

    fn length(&self) -> io::Result<u64> {
        self.under.length()
    }
}
