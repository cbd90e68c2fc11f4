//! Applies one layer's tar to a root file system (image-spec, layer.md): changes, whiteouts and
//! opaque directories, everything else refused.
//!
//! The caller is the only writer below the root, so that what was checked of a path stays true.
//! Owners are ignored (all becomes the importer's), permissions are widened so that the kuid of any
//! run can read (see [`permissions`]), extended attributes are not taken.

use std::{
    collections::HashSet,
    fs,
    io::{self, Read},
    os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink},
    path::{Component, Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use tar::{Entry, EntryType};

/// Most bytes of an entry's path.
const PATH_BYTES_MAX: usize = 4096;
/// Most components of an entry's path.
const PATH_DEPTH_MAX: usize = 128;
/// Latest time of a file that is kept, in Unix seconds; a later one is clamped.
const UNIX_SECONDS_MAX: u64 = 1 << 40;

/// What a layer, or all so far, may still take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// Entries.
    pub(super) entries: u64,
    /// Bytes of files.
    pub(super) bytes: u64,
}

/// Why a layer is not applied; part of it may have been.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    /// The archive is damaged or the file system refuses.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// An entry asks for what no image may have.
    #[error("entry {path:?} {reason}")]
    Entry {
        /// As the archive names it.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The budget is used up.
    #[error("the image is larger than the limit of this node")]
    TooLarge,
}

/// Applies the tar in `reader` to the directory `root`. Returns what is left of the budget.
pub(super) fn apply(root: &Path, reader: impl Read, budget: Budget) -> Result<Budget, ApplyError> {
    let mut layer = Layer { root: root.to_owned(), budget, written: HashSet::new(), parent: None };
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let shown = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        layer.entry(&mut entry).map_err(|fault| match fault {
            Fault::Io(cause) => ApplyError::Io(cause),
            Fault::TooLarge => ApplyError::TooLarge,
            Fault::Refused(reason) => ApplyError::Entry { path: shown, reason },
        })?;
    }
    Ok(layer.budget)
}

enum Fault {
    Io(io::Error),
    Refused(&'static str),
    TooLarge,
}

impl From<io::Error> for Fault {
    fn from(cause: io::Error) -> Self {
        Self::Io(cause)
    }
}

struct Layer {
    root: PathBuf,
    budget: Budget,
    /// What this layer itself made: whiteouts take away what was there before only.
    written: HashSet<PathBuf>,
    /// The last parent that was found to be reached through real directories only.
    parent: Option<PathBuf>,
}

impl Layer {
    fn entry(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<(), Fault> {
        self.budget.entries = self.budget.entries.checked_sub(1).ok_or(Fault::TooLarge)?;
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let path = clean(&entry.path().map_err(|_| Fault::Refused("has an unreadable path"))?)?;
        let Some(name) = path.file_name().and_then(|name| name.to_str().or(Some(""))) else {
            return Ok(()); // the root itself
        };
        self.make_parents(&path)?;
        if let Some(hidden) = name.strip_prefix(".wh.") {
            return self.whiteout(&path, hidden);
        }
        let mode = entry.header().mode().unwrap_or(0);
        match kind {
            EntryType::Directory => self.directory(&path)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(&path, entry, mode)?;
            }
            EntryType::Symlink => {
                let target = link_name(entry)?;
                self.clear(&path)?;
                symlink(target, self.root.join(&path))?;
            }
            EntryType::Link => self.hard_link(&path, &clean(&link_name(entry)?)?)?,
            // Old images carry a /dev of nodes; a container gets its own.
            _ if path.starts_with("dev") => return Ok(()),
            _ => return Err(Fault::Refused("is a device, a pipe or of an unknown type")),
        }
        self.written.insert(path);
        Ok(())
    }

    /// Makes sure that every parent is a real directory; what is missing is made.
    fn make_parents(&mut self, path: &Path) -> Result<(), Fault> {
        let parent = path.parent().unwrap_or(Path::new(""));
        if self.parent.as_deref() == Some(parent) {
            return Ok(());
        }
        let mut walked = PathBuf::new();
        for part in parent.components() {
            walked.push(part);
            let real = self.root.join(&walked);
            match fs::symlink_metadata(&real) {
                Ok(status) if status.is_dir() => {}
                Ok(_) => return Err(Fault::Refused("goes through a link or a file")),
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                    self.budget.entries =
                        self.budget.entries.checked_sub(1).ok_or(Fault::TooLarge)?;
                    make_directory(&real)?;
                    self.written.insert(walked.clone());
                }
                Err(cause) => return Err(cause.into()),
            }
        }
        self.parent = Some(parent.to_owned());
        Ok(())
    }

    fn directory(&mut self, path: &Path) -> Result<(), Fault> {
        let real = self.root.join(path);
        match fs::symlink_metadata(&real) {
            Ok(status) if status.is_dir() => Ok(()),
            _ => {
                self.clear(path)?;
                Ok(make_directory(&real)?)
            }
        }
    }

    fn file(
        &mut self,
        path: &Path,
        entry: &mut Entry<'_, impl Read>,
        mode: u32,
    ) -> Result<(), Fault> {
        let left = self.budget.bytes.checked_sub(entry.size()).ok_or(Fault::TooLarge)?;
        self.clear(path)?;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.root.join(path))?;
        if io::copy(entry, &mut file)? != entry.size() {
            return Err(Fault::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        self.budget.bytes = left;
        let seconds = entry.header().mtime().unwrap_or(0).min(UNIX_SECONDS_MAX);
        file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds))?;
        file.set_permissions(fs::Permissions::from_mode(permissions(mode)))?;
        Ok(())
    }

    fn hard_link(&mut self, path: &Path, target: &Path) -> Result<(), Fault> {
        let mut walked = self.root.clone();
        let parts = target.components().count();
        for (index, part) in target.components().enumerate() {
            walked.push(part);
            let status = fs::symlink_metadata(&walked)
                .map_err(|_| Fault::Refused("is a link to a file that is not there"))?;
            let last = index + 1 == parts;
            if last && !status.is_file() && !status.is_symlink() || !last && !status.is_dir() {
                return Err(Fault::Refused("is a link to something other than a file"));
            }
        }
        if path == target || target.as_os_str().is_empty() {
            return Err(Fault::Refused("is a link to itself"));
        }
        self.clear(path)?;
        // Does not follow a symbolic link.
        Ok(fs::hard_link(walked, self.root.join(path))?)
    }

    /// Takes away what stands at `path`, whatever it is.
    fn clear(&mut self, path: &Path) -> Result<(), Fault> {
        let real = self.root.join(path);
        match fs::symlink_metadata(&real) {
            Ok(status) if status.is_dir() => {
                self.parent = None;
                Ok(fs::remove_dir_all(real)?)
            }
            Ok(_) => Ok(fs::remove_file(real)?),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(cause) => Err(cause.into()),
        }
    }

    fn whiteout(&mut self, path: &Path, hidden: &str) -> Result<(), Fault> {
        let parent = path.parent().unwrap_or(Path::new("")).to_owned();
        self.parent = None;
        match hidden {
            ".wh..opq" => self.prune(&parent),
            // Other `.wh..wh.` names are a storage driver's own, not part of the image.
            _ if hidden.starts_with(".wh.") => Ok(()),
            "" | "." | ".." => Err(Fault::Refused("hides nothing")),
            _ => self.hide(&parent.join(hidden)),
        }
    }

    /// Takes `path` away as far as former layers made it.
    fn hide(&mut self, path: &Path) -> Result<(), Fault> {
        if !self.written.contains(path) {
            return self.clear(path);
        }
        match fs::symlink_metadata(self.root.join(path)) {
            Ok(status) if status.is_dir() => self.prune(path),
            _ => Ok(()),
        }
    }

    /// Takes away everything in `directory` that former layers made.
    fn prune(&mut self, directory: &Path) -> Result<(), Fault> {
        for child in fs::read_dir(self.root.join(directory))? {
            self.hide(&directory.join(child?.file_name()))?;
        }
        Ok(())
    }
}

/// The permissions that a file gets: the owner's bits, without write for others, given to all.
///
/// Every run has its own range of kuids, none of which owns the tree, so that what only its owner
/// could read would be unreadable; setuid, setgid and sticky bits go.
fn permissions(mode: u32) -> u32 {
    let owner = mode & 0o700 | 0o400;
    let others = owner & 0o500;
    owner | others >> 3 | others >> 6
}

fn make_directory(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// The path without `.` and trailing slashes; absolute paths and `..` are refused.
fn clean(path: &Path) -> Result<PathBuf, Fault> {
    let mut cleaned = PathBuf::new();
    let mut depth = 0;
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => {
                cleaned.push(name);
                depth += 1;
            }
            Component::RootDir | Component::Prefix(_) => {
                return Err(Fault::Refused("has an absolute path"));
            }
            Component::ParentDir => return Err(Fault::Refused("has '..' in its path")),
        }
    }
    if cleaned.as_os_str().len() > PATH_BYTES_MAX || depth > PATH_DEPTH_MAX {
        return Err(Fault::Refused("has too long a path"));
    }
    Ok(cleaned)
}

fn link_name(entry: &Entry<'_, impl Read>) -> Result<PathBuf, Fault> {
    match entry.link_name()? {
        Some(target) if target.as_os_str().len() <= PATH_BYTES_MAX => Ok(target.into_owned()),
        _ => Err(Fault::Refused("is a link without a target")),
    }
}

#[cfg(test)]
mod tests;
