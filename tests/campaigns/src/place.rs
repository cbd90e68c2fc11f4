//! Directories that states are made in: in memory where there is a file system for that.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

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

/// Copies what `source` holds at one moment, while who writes it rests: a copy during which a file came, went
/// or grew is thrown away, as RocksDB tidies up in the background.
///
/// # Errors
/// Those of the file system.
pub fn copy_at_rest(source: &Path, target: &Path) -> io::Result<()> {
    loop {
        let before = lengths(source)?;
        copy(source, target)?;
        if lengths(source)? == before {
            return Ok(());
        }
        fs::remove_dir_all(target)?;
    }
}

fn lengths(directory: &Path) -> io::Result<BTreeMap<PathBuf, u64>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => found.extend(lengths(&path)?),
            Ok(metadata) => drop(found.insert(path, metadata.len())),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(found)
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
