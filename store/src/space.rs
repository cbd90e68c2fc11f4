//! The room on the vault's disk: how much is left, and a reserve that is let go when nothing is.
//!
//! Data is refused early, while reads and what ends or describes data go on. When a write meets a full
//! disk nevertheless, the reserve's blocks are freed for it, and data is refused until there is room to
//! take the reserve again.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use rustix::{
    fs::{FallocateFlags, fallocate, statvfs},
    io::Errno,
};

use crate::{Error, ErrorKind, Result, error};

/// Bytes kept free by default: data is refused below.
pub const FREE_BYTES_MIN: u64 = 256 << 20;

/// Bytes of the reserve by default.
pub const RESERVE_BYTES: u64 = 64 << 20;

/// Bytes that one call writes into a reserve where blocks can't be allotted at once.
const PIECE_BYTES: usize = 1 << 20;

/// What is kept free, and what is held in reserve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpaceParams {
    /// Bytes below which no data is taken.
    pub free_bytes_min: u64,
    /// Bytes of the reserve; 0 for none.
    pub reserve_bytes: u64,
}

impl Default for SpaceParams {
    fn default() -> Self {
        Self { free_bytes_min: FREE_BYTES_MIN, reserve_bytes: RESERVE_BYTES }
    }
}

/// The room on the disk of one vault.
pub struct Space {
    directory: PathBuf,
    reserve: PathBuf,
    params: SpaceParams,
    /// A write met a full disk, and the reserve is not held again yet.
    full: AtomicBool,
    /// Taking and letting go exclude each other.
    changing: Mutex<()>,
}

impl fmt::Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Space").field("params", &self.params).field("full", &self.full).finish()
    }
}

impl Space {
    /// The room on the disk of `directory`, with the reserve in its file `reserve`. Without room for the
    /// reserve the disk counts as full.
    #[must_use]
    pub fn open(directory: &Path, params: SpaceParams) -> Self {
        let space = Self {
            directory: directory.to_owned(),
            reserve: directory.join("reserve"),
            params,
            full: AtomicBool::new(false),
            changing: Mutex::new(()),
        };
        if !space.is_held() {
            space.full.store(true, Ordering::SeqCst);
            space.recover();
        }
        space
    }

    /// Bytes that are free for this process; none when the file system does not tell.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        free_bytes(&self.directory).ok()
    }

    /// What is kept free, and what is held in reserve.
    #[must_use]
    pub fn params(&self) -> SpaceParams {
        self.params
    }

    /// Whether the reserve was let go and is not held again yet.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::SeqCst)
    }

    /// Whether data may be taken: asked before a body is read, and before each batch of chunks.
    ///
    /// # Errors
    /// `NoSpace`, with the figures.
    pub fn admit(&self) -> Result<()> {
        let free = self.free_bytes().unwrap_or(u64::MAX);
        let wanted = if self.is_full() { self.again_bytes() } else { self.params.free_bytes_min };
        if !self.is_full() && free >= wanted {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::NoSpace,
            format!(
                "the vault's disk has {} MiB free and takes data again with {} MiB; reads and \
                 deletes go on",
                free >> 20,
                wanted.div_ceil(1 << 20)
            ),
        ))
    }

    /// A write met a full disk: lets the reserve go, and refuses data from now on.
    pub fn met_full(&self) {
        let _changing = self.changing.lock();
        if !self.full.swap(true, Ordering::SeqCst) {
            tracing::error!("the disk is full: no data is taken; reads and deletes go on");
        }
        let emptied = OpenOptions::new().write(true).open(&self.reserve).and_then(|file| {
            file.set_len(0)?;
            // The blocks can be used once the change is on the disk.
            file.sync_all()
        });
        if let Err(cause) = emptied
            && cause.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(kind = %cause.kind(), "the reserve can't be let go");
        }
    }

    /// Takes the reserve again once there is room for it and more, and data with it: call it every few
    /// seconds.
    pub fn recover(&self) {
        if !self.is_full() || self.free_bytes().is_none_or(|free| free < self.again_bytes()) {
            return;
        }
        let _changing = self.changing.lock();
        match self.take() {
            Ok(()) => {
                self.full.store(false, Ordering::SeqCst);
                tracing::info!("there is room on the disk: data is taken");
            }
            Err(cause) => tracing::warn!(kind = %cause.kind(), "the reserve can't be taken"),
        }
    }

    /// Free bytes at which the reserve is taken again: enough to go on with it.
    fn again_bytes(&self) -> u64 {
        let SpaceParams { free_bytes_min, reserve_bytes } = self.params;
        reserve_bytes + free_bytes_min.max(reserve_bytes / 2)
    }

    fn is_held(&self) -> bool {
        let length = self.reserve.metadata().map_or(0, |metadata| metadata.len());
        self.params.reserve_bytes > 0 && length >= self.params.reserve_bytes
    }

    fn take(&self) -> io::Result<()> {
        let bytes = self.params.reserve_bytes;
        if bytes == 0 || self.is_held() {
            return Ok(());
        }
        let mut options = OpenOptions::new();
        let file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&self.reserve)?;
        match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => write(&file, bytes)?,
            Err(cause) => return Err(cause.into()),
        }
        file.sync_all()
    }
}

/// Bytes that are free for this process on the file system of `path`.
///
/// # Errors
/// `NotFound`; `Unavailable`.
pub fn free_bytes(path: &Path) -> Result<u64> {
    let found = statvfs(path).map_err(|cause| error::io("free space of the disk")(cause.into()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

fn write(mut file: &File, bytes: u64) -> io::Result<()> {
    let piece = vec![0_u8; PIECE_BYTES];
    let mut left = bytes;
    while left > 0 {
        let front = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        file.write_all(&piece[..front])?;
        left -= front as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn open(directory: &Path, free_bytes_min: u64) -> Space {
        Space::open(directory, SpaceParams { free_bytes_min, reserve_bytes: 2 * MIB })
    }

    #[test]
    fn a_reserve_is_let_go_and_taken_again() {
        let directory = tempfile::tempdir().unwrap();
        let space = open(directory.path(), 0);
        let held = || directory.path().join("reserve").metadata().unwrap().len();
        assert_eq!(held(), 2 * MIB);
        assert!(space.admit().is_ok());
        space.met_full();
        assert_eq!((held(), space.is_full()), (0, true));
        assert_eq!(space.admit().unwrap_err().kind(), ErrorKind::NoSpace);
        space.recover();
        assert_eq!((held(), space.is_full()), (2 * MIB, false));
        assert!(space.admit().is_ok());
    }

    #[test]
    fn data_is_refused_while_there_is_still_room() {
        let directory = tempfile::tempdir().unwrap();
        let space = open(directory.path(), u64::MAX / 4);
        assert!(space.is_full(), "there is no room for the reserve and what is kept free");
        let text = space.admit().unwrap_err().to_string();
        assert!(text.contains("MiB free") && text.contains("reads and deletes go on"), "{text}");
        space.recover();
        assert!(space.is_full());
    }

    #[test]
    fn a_start_after_a_full_disk_counts_it_as_full_until_there_is_room() {
        let directory = tempfile::tempdir().unwrap();
        open(directory.path(), 0).met_full();
        assert!(!open(directory.path(), 0).is_full(), "there is room again");
    }
}
