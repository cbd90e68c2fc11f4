//! What callers of a disk do in one go: whole writes, whole files.

use std::{
    io::{self, IoSlice},
    path::{Path, PathBuf},
};

use super::{Disk, DiskFile, OpenAs};

/// Slices of one write call; the limit of Linux is 1024.
const SLICES_MAX: usize = 1024;

/// Bytes of one write call. For a larger one the page cache takes memory in the largest pieces there are, which
/// a virtual machine often has to get from its host first: that halved the speed of writing, and more.
const CALL_BYTES_MAX: usize = 1 << 20;

/// Writes all of `slices` at the end of `file`.
///
/// # Errors
/// Those of the file system; then it is unknown what was written.
pub fn write_all(file: &dyn DiskFile, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        let written = taken(file.write_vectored(&front(slices)))?;
        IoSlice::advance_slices(&mut slices, written);
    }
    Ok(())
}

/// What the next call writes of `slices`.
fn front<'a>(slices: &'a [IoSlice<'_>]) -> Vec<IoSlice<'a>> {
    let mut left = CALL_BYTES_MAX;
    let taken = slices.iter().take(SLICES_MAX).map_while(|slice| {
        let bytes = &slice[..slice.len().min(left)];
        left -= bytes.len();
        (!bytes.is_empty()).then(|| IoSlice::new(bytes))
    });
    taken.collect()
}

/// Writes all of `bytes` at `offset` of `file`.
pub(crate) fn write_all_at(file: &dyn DiskFile, mut bytes: &[u8], offset: u64) -> io::Result<()> {
    let end = offset + bytes.len() as u64;
    while !bytes.is_empty() {
        let written = taken(file.write_at(bytes, end - bytes.len() as u64))?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// What a write call took: none when a signal came before the first byte.
fn taken(written: io::Result<usize>) -> io::Result<usize> {
    match written {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        Err(cause) if cause.kind() == io::ErrorKind::Interrupted => Ok(0),
        other => other,
    }
}

/// The bytes of the whole file `path`; `InvalidData` when there are more than `bytes_max`.
pub(crate) fn read(disk: &dyn Disk, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenAs::Read)?;
    let length = usize::try_from(file.length()?).ok().filter(|length| *length <= bytes_max);
    let mut bytes = vec![0; length.ok_or(io::ErrorKind::InvalidData)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Replaces `path` by a file of these bytes, whole or not at all. Durable when it returns; after an
/// error either may be there.
pub(crate) fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = PathBuf::from(format!("{}.new", path.display()));
    // Left by an earlier end half-way.
    if let Err(cause) = disk.remove(&fresh)
        && cause.kind() != io::ErrorKind::NotFound
    {
        return Err(cause);
    }
    let written = write_new(disk, &fresh, bytes).and_then(|()| disk.rename(&fresh, path));
    if written.is_err() {
        // Nobody reads what remains; the error that counts is the first.
        let _ = disk.remove(&fresh);
    }
    written?;
    sync_parent(disk, path)
}

fn write_new(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = disk.open(path, OpenAs::New)?;
    write_all(&*file, &mut [IoSlice::new(bytes)])?;
    file.sync_data()
}

/// Opens `path` for writing at any place; makes it when it is not there. Its name is durable when it
/// returns, also if an earlier start made it and ended before that.
pub(crate) fn open_or_make(disk: &dyn Disk, path: &Path) -> io::Result<Box<dyn DiskFile>> {
    let opened = match disk.open(path, OpenAs::Update) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            drop(disk.open(path, OpenAs::New)?);
            disk.open(path, OpenAs::Update)
        }
        opened => opened,
    }?;
    sync_parent(disk, path)?;
    Ok(opened)
}

/// Waits until the name of `path` is on the disk.
pub(crate) fn sync_parent(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    disk.sync_directory(parent.unwrap_or(Path::new(".")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;
    use crate::disk::{
        memory::MemoryDisk,
        observed::{ObservedDisk, Observer, Operation, Verdict},
    };

    /// Notes how many bytes each write call has.
    #[derive(Debug, Default)]
    struct Calls(Mutex<Vec<usize>>);

    impl Observer for Calls {
        fn begin(&self, operation: &Operation<'_>) -> Verdict {
            if let Operation::Write { bytes, .. } = operation {
                self.0.lock().push(bytes.len());
            }
            Verdict::Go(0)
        }

        fn end(&self, _: &Operation<'_>, _: u64) {}
    }

    #[test]
    fn no_call_is_large_and_no_byte_is_lost() {
        let calls = Arc::new(Calls::default());
        let disk = ObservedDisk::new(Arc::new(MemoryDisk::default()), calls.clone());
        let large: Vec<u8> = (0_u32..3 << 20).map(|at| (at % 251) as u8).collect();
        let pieces: [&[u8]; 6] = [b"", b"head", b"", &large, b"", b"tail"];
        let file = disk.open(Path::new("d/a"), OpenAs::New).unwrap();
        write_all(&*file, &mut pieces.map(IoSlice::new)).unwrap();
        let whole = pieces.concat();
        assert!(read(&disk, Path::new("d/a"), whole.len()).unwrap() == whole);
        let calls = calls.0.lock().clone();
        assert!(calls.iter().all(|bytes| (1..=CALL_BYTES_MAX).contains(bytes)), "{calls:?}");
        assert!(calls.len() <= 6, "{calls:?}");
    }
}
