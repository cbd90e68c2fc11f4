//! Checkpoints: consistent copies of the whole catalog, kept beside the packs.
//!
//! A checkpoint shares no file with the live catalog, so what hits a file of that does not hit both; an
//! unchanged file is shared between neighbouring checkpoints. Still sealed. The vault writes them, a
//! rebuild and a backup read them.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use time::{OffsetDateTime, PrimitiveDateTime, macros::format_description};

use crate::{Error, ErrorKind, Result, catalog::Catalog, error};

/// How many checkpoints are kept.
pub const CHECKPOINTS_KEPT: usize = 3;

/// How the name of one begins that was not finished.
const PARTIAL: &str = "partial-";

/// Bytes at the front of a catalog file by which it is known again: they hold its random salt.
const FRONT_BYTES: usize = 4096;

/// One checkpoint: a directory named `<UTC time>-<version>`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Where it is.
    pub path: PathBuf,
    /// Milliseconds since 1970 at which it was begun, in whole seconds.
    pub unix_ms: u64,
    /// A commit that it holds; it may hold later ones.
    pub version: u64,
}

impl Checkpoint {
    fn parse(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let (at, version) = name.split_once('-')?;
        let form = format_description!("[year][month][day]T[hour][minute][second]Z");
        let at = PrimitiveDateTime::parse(at, form).ok()?.assume_utc().unix_timestamp();
        let unix_ms = u64::try_from(at).ok()?.checked_mul(1000)?;
        let version = version.parse().ok()?;
        Some(Self { path, unix_ms, version })
    }
}

/// The finished checkpoints in `directory`, newest first; none when it does not exist.
///
/// # Errors
/// `Unavailable`.
pub fn list(directory: &Path) -> Result<Vec<Checkpoint>> {
    let mut found: Vec<_> = entries(directory)?.into_iter().filter_map(Checkpoint::parse).collect();
    found.sort_by_key(|checkpoint| std::cmp::Reverse((checkpoint.version, checkpoint.unix_ms)));
    Ok(found)
}

/// Writes a checkpoint of `catalog` into `directory` and removes the oldest above [`CHECKPOINTS_KEPT`].
/// `version` is a commit that the catalog holds. Durable when it returns; a future that is dropped leaves
/// at most a part, which the next call removes. One call at a time.
///
/// # Errors
/// `AlreadyExists`; `NoSpace`; `Unavailable`.
pub async fn write(
    catalog: &dyn Catalog,
    directory: &Path,
    (unix_ms, version): (u64, u64),
) -> Result<Checkpoint> {
    let name = name(unix_ms, version)?;
    let (path, partial) = (directory.join(&name), directory.join(format!("{PARTIAL}{name}")));
    prepare(directory).map_err(error::io("directory of checkpoints"))?;
    if path.exists() {
        return Err(Error::new(ErrorKind::AlreadyExists, "a checkpoint of this name"));
    }
    catalog.checkpoint(&partial).await?;
    let directory = directory.to_owned();
    let written = tokio::task::spawn_blocking(move || {
        let previous = list(&directory)?.into_iter().next();
        finish(&directory, (&partial, &path), previous.as_ref())
            .map_err(error::io("a checkpoint"))?;
        prune(&directory)?;
        Ok(Checkpoint { path, unix_ms, version })
    });
    written.await.map_err(|cause| Error::new(ErrorKind::Internal, "checkpoint").because(cause))?
}

fn name(unix_ms: u64, version: u64) -> Result<String> {
    let invalid = || Error::new(ErrorKind::InvalidInput, "time of a checkpoint");
    let at = i64::try_from(unix_ms / 1000).map_err(|_| invalid())?;
    let at = OffsetDateTime::from_unix_timestamp(at).map_err(|_| invalid())?;
    let form = format_description!("[year][month][day]T[hour][minute][second]Z");
    let at = at.format(form).map_err(|_| invalid())?;
    Ok(format!("{at}-{version}"))
}

/// Makes the directory, and removes what an earlier call did not finish.
fn prepare(directory: &Path) -> io::Result<()> {
    if !directory.is_dir() {
        fs::DirBuilder::new().mode(0o700).create(directory)?;
        sync(directory.parent().unwrap_or(Path::new(".")))?;
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Makes every file of `partial` independent of the live catalog, then gives it its name.
fn finish(
    directory: &Path,
    (partial, path): (&Path, &Path),
    previous: Option<&Checkpoint>,
) -> io::Result<()> {
    for entry in fs::read_dir(partial)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if !metadata.is_file() || metadata.nlink() == 1 {
            continue;
        }
        let earlier = previous.map(|previous| previous.path.join(entry.file_name()));
        let fresh = partial.join(format!("{}.copy", entry.file_name().to_string_lossy()));
        match earlier.filter(|earlier| same_file(earlier, &entry.path(), metadata.len())) {
            Some(earlier) => fs::hard_link(earlier, &fresh)?,
            None => {
                fs::copy(entry.path(), &fresh)?;
                File::open(&fresh)?.sync_all()?;
            }
        }
        fs::rename(&fresh, entry.path())?;
    }
    sync(partial)?;
    fs::rename(partial, path)?;
    sync(directory)
}

/// Whether `earlier` is a copy of the file `now`: files of a catalog are never changed once they are whole,
/// and each begins with a salt of its own.
fn same_file(earlier: &Path, now: &Path, length: u64) -> bool {
    let front = |path: &Path| -> io::Result<Vec<u8>> {
        let mut front = Vec::with_capacity(FRONT_BYTES);
        File::open(path)?.take(FRONT_BYTES as u64).read_to_end(&mut front)?;
        Ok(front)
    };
    let same_length = fs::metadata(earlier).is_ok_and(|metadata| metadata.len() == length);
    same_length && matches!((front(earlier), front(now)), (Ok(a), Ok(b)) if a == b)
}

fn prune(directory: &Path) -> Result<()> {
    for old in list(directory)?.into_iter().skip(CHECKPOINTS_KEPT) {
        fs::remove_dir_all(&old.path).map_err(error::io("an old checkpoint"))?;
    }
    Ok(())
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(error::io("directory of checkpoints")(cause)),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>();
    paths.map_err(error::io("directory of checkpoints"))
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_time_and_version() {
        let name = name(1_795_573_496_123, 42).unwrap();
        assert_eq!(name, "20261125T022456Z-42");
        let parsed = Checkpoint::parse(PathBuf::from(format!("/c/{name}"))).unwrap();
        assert_eq!((parsed.unix_ms, parsed.version), (1_795_573_496_000, 42));
        for bad in ["partial-20261125T022456Z-42", "20261125T022456Z", "x-1", "20261325T022456Z-1"]
        {
            assert_eq!(Checkpoint::parse(PathBuf::from(bad)), None);
        }
    }

    #[test]
    fn files_are_shared_between_checkpoints_and_not_with_the_catalog() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("live")).unwrap();
        for (name, bytes) in [("old.sst", "one"), ("new.sst", "two")] {
            fs::write(path("live").join(name), bytes).unwrap();
        }
        let checkpoint = |version: u64, files: &[&str], previous: Option<&Checkpoint>| {
            let name = name(0, version).unwrap();
            fs::create_dir(path("p")).unwrap();
            for file in files {
                fs::hard_link(path("live").join(file), path("p").join(file)).unwrap();
            }
            finish(directory.path(), (&path("p"), &path(&name)), previous).unwrap();
            Checkpoint { path: path(&name), unix_ms: 0, version }
        };
        let first = checkpoint(1, &["old.sst"], None);
        let second = checkpoint(2, &["old.sst", "new.sst"], Some(&first));
        let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
        assert_eq!(inode(first.path.join("old.sst")), inode(second.path.join("old.sst")));
        for file in ["old.sst", "new.sst"] {
            assert_ne!(inode(path("live").join(file)), inode(second.path.join(file)));
        }
        // Same name, other content: not the same file.
        fs::remove_file(path("live").join("old.sst")).unwrap();
        fs::write(path("live").join("old.sst"), "ONE").unwrap();
        let third = checkpoint(3, &["old.sst"], Some(&second));
        assert_eq!(fs::read(third.path.join("old.sst")).unwrap(), *b"ONE");
        assert_eq!(list(directory.path()).unwrap().len(), 3);
    }
}
