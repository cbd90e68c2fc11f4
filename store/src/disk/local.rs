//! The files of the operating system.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, IoSlice, IoSliceMut, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::io::{Errno, ReadWriteFlags};

use super::{Disk, DiskFile, OpenAs, sync_parent};

/// The files of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn open(&self, path: &Path, how: OpenAs) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        match how {
            OpenAs::Read => options.read(true),
            OpenAs::New => options.read(true).append(true).create_new(true).mode(0o600),
            OpenAs::Append => options.append(true),
            OpenAs::Update => options.read(true).write(true),
        };
        Ok(Box::new(options.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect()
    }

    fn make_directory(&self, directory: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
                self.make_directory(parent.ok_or(cause)?)?;
                DirBuilder::new().mode(0o700).create(directory)?;
            }
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
            made => made?,
        }
        // Also of one that is there: an earlier start may have made it and ended before it was durable.
        sync_parent(self, directory)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }
}

impl DiskFile for File {
    fn write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut file = self;
        Write::write_vectored(&mut file, pieces)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
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
