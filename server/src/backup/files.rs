//! Copying files so that they are whole and durable, or not there.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use sha2::{Digest, Sha256};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 1 << 20;

/// Length and SHA-256 of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    /// Bytes.
    pub length: u64,
    /// SHA-256 of them.
    pub sha256: [u8; 32],
}

/// Makes the directory `path`, readable by its owner only, when it is not there.
///
/// # Errors
/// Those of the file system.
pub fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Waits until the names in `directory` are on the disk.
///
/// # Errors
/// Those of the file system.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Copies at most `limit` bytes of `source` to `target`, which appears whole and synced or not at all; its
/// name is durable after [`sync_directory`].
///
/// # Errors
/// Those of the file system.
pub fn copy(source: &Path, target: &Path, limit: u64) -> io::Result<Sum> {
    let partial = target.with_extension("partial");
    let mut options = OpenOptions::new();
    let mut to = options.write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    let summed = pass(&mut File::open(source)?.take(limit), |piece| to.write_all(piece))?;
    to.sync_all()?;
    fs::rename(&partial, target)?;
    Ok(summed)
}

/// Length and SHA-256 of `path`.
///
/// # Errors
/// Those of the file system.
pub fn sum(path: &Path) -> io::Result<Sum> {
    pass(&mut File::open(path)?, |_| Ok(()))
}

/// Copies the files of the directory `source` into the new directory `target`, synced.
///
/// # Errors
/// Those of the file system.
pub fn copy_flat(source: &Path, target: &Path) -> io::Result<()> {
    make_directory(target)?;
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let name = target.join(entry.file_name());
            fs::copy(entry.path(), &name)?;
            File::open(&name)?.sync_all()?;
        }
    }
    sync_directory(target)
}

/// Writes `bytes` to `target`, whole and synced, in place of what is there.
///
/// # Errors
/// Those of the file system.
pub fn replace(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = target.with_extension("partial");
    let mut options = OpenOptions::new();
    let mut to = options.write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    to.write_all(bytes)?;
    to.sync_all()?;
    fs::rename(&partial, target)?;
    sync_directory(target.parent().unwrap_or(Path::new(".")))
}

fn pass(from: &mut dyn Read, mut give: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<Sum> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut digest = Sha256::new();
    let mut length = 0;
    loop {
        let read = from.read(&mut piece)?;
        if read == 0 {
            return Ok(Sum { length, sha256: digest.finalize().into() });
        }
        digest.update(&piece[..read]);
        give(&piece[..read])?;
        length += read as u64;
    }
}
