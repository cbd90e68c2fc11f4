//! Directories that states are made in: in memory where there is a file system for that.

use std::{fs, io, path::Path};

use tempfile::TempDir;

/// The file system in memory of Linux.
const IN_MEMORY: &str = "/dev/shm";

/// A new directory, removed when it is dropped.
///
/// # Errors
/// Those of the file system.
pub fn directory() -> io::Result<TempDir> {
    let builder = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix("readvault-campaign-");
        builder
    };
    if Path::new(IN_MEMORY).is_dir() {
        return builder().tempdir_in(IN_MEMORY);
    }
    builder().tempdir()
}

/// Copies the files of `source` and of the directories in it; what vanishes meanwhile is left out.
///
/// # Errors
/// Those of the file system.
pub fn copy(source: &Path, target: &Path) -> io::Result<()> {
    fs::create_dir_all(target)?;
    for entry in fs::read_dir(source)? {
        let path = entry?.path();
        let target = target.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() {
            copy(&path, &target)?;
        } else if let Err(cause) = fs::copy(&path, &target)
            && cause.kind() != io::ErrorKind::NotFound
        {
            return Err(cause);
        }
    }
    Ok(())
}
