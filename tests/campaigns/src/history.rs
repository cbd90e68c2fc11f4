//! A journal by files and names: which file each change is of, and which wait made it durable.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use bytes::Bytes;

use crate::journal::{Change, Entry};

/// A change of a file's bytes.
#[derive(Clone, Debug)]
pub struct Write {
    /// When it began.
    pub begin: u64,
    /// When it had succeeded.
    pub end: Option<u64>,
    /// Where.
    pub offset: usize,
    /// What; none cuts the file at the offset or fills it up to there.
    pub bytes: Option<Bytes>,
}

/// A change of the names in a directory.
#[derive(Clone, Debug)]
pub struct Naming {
    /// When it began.
    pub begin: u64,
    /// When it had succeeded.
    pub end: Option<u64>,
    /// The name that ends.
    pub ends: Option<PathBuf>,
    /// The name that a file has from now on.
    pub begins: Option<(PathBuf, usize)>,
}

/// Waits for the disk: begin and, when it succeeded, end.
type Waits = Vec<(u64, Option<u64>)>;

/// One file, whatever its names.
#[derive(Debug, Default)]
pub struct File {
    /// What was durable before the journal began.
    pub base: Bytes,
    /// Its changes, in order.
    pub writes: Vec<Write>,
    syncs: Waits,
    failed_syncs: Vec<u64>,
    length: usize,
}

/// One directory.
#[derive(Debug, Default)]
pub struct Names {
    /// Its changes, in order.
    pub namings: Vec<Naming>,
    syncs: Waits,
}

/// A journal by files and names.
#[derive(Debug, Default)]
pub struct History {
    /// All files that ever were.
    pub files: Vec<File>,
    /// The directories with names.
    pub directories: BTreeMap<PathBuf, Names>,
    /// Names that were durable before the journal began.
    pub base: BTreeMap<PathBuf, usize>,
    /// When each directory was made.
    pub made: Vec<(u64, PathBuf)>,
}

impl History {
    /// The history of `entries` over what was durable before.
    #[must_use]
    pub fn new(before: BTreeMap<PathBuf, Bytes>, entries: &[Entry]) -> Self {
        let mut history = Self::default();
        let mut live = HashMap::new();
        let directories: BTreeSet<PathBuf> =
            before.keys().filter_map(|path| path.parent().map(Path::to_owned)).collect();
        history.made.extend(directories.into_iter().map(|directory| (0, directory)));
        for (path, bytes) in before {
            let file = File { length: bytes.len(), base: bytes, ..File::default() };
            history.files.push(file);
            live.insert(path.clone(), history.files.len() - 1);
            history.base.insert(path, history.files.len() - 1);
        }
        for entry in entries {
            history.take_in(entry, &mut live);
        }
        history
    }

    fn take_in(&mut self, entry: &Entry, live: &mut HashMap<PathBuf, usize>) {
        match &entry.change {
            Change::Create(path) => match live.get(path) {
                Some(file) => self.write(entry, *file, Some(0), None),
                None => {
                    self.files.push(File::default());
                    let file = self.files.len() - 1;
                    live.insert(path.clone(), file);
                    self.name(entry, None, Some((path.clone(), file)));
                }
            },
            Change::Write(path, offset, bytes) => {
                if let Some(file) = live.get(path) {
                    self.write(entry, *file, *offset, Some(bytes.clone()));
                }
            }
            Change::Truncate(path, length) => {
                if let Some(file) = live.get(path) {
                    self.write(entry, *file, Some(*length), None);
                }
            }
            Change::Sync(path) => {
                if let Some(file) = live.get(path) {
                    self.files[*file].syncs.push((entry.begin, entry.end));
                }
            }
            Change::FailedSync(path) => {
                if let Some(file) = live.get(path) {
                    self.files[*file].failed_syncs.push(entry.begin);
                }
            }
            Change::Rename(from, to) => {
                if let Some(file) = live.remove(from) {
                    live.insert(to.clone(), file);
                    self.name(entry, Some(from.clone()), Some((to.clone(), file)));
                }
            }
            Change::Link(from, to) => {
                if let Some(file) = live.get(from).copied() {
                    live.insert(to.clone(), file);
                    self.name(entry, None, Some((to.clone(), file)));
                }
            }
            Change::Remove(path) => {
                if live.remove(path).is_some() {
                    self.name(entry, Some(path.clone()), None);
                }
            }
            Change::MakeDirectory(path) => self.made.push((entry.begin, path.clone())),
            Change::SyncDirectory(path) => {
                let names = self.directories.entry(path.clone()).or_default();
                names.syncs.push((entry.begin, entry.end));
            }
        }
    }

    fn write(&mut self, entry: &Entry, file: usize, offset: Option<u64>, bytes: Option<Bytes>) {
        let file = &mut self.files[file];
        let offset = offset.map_or(file.length, |at| usize::try_from(at).expect("a small file"));
        file.length = match &bytes {
            Some(bytes) => file.length.max(offset + bytes.len()),
            None => offset,
        };
        file.writes.push(Write { begin: entry.begin, end: entry.end, offset, bytes });
    }

    fn name(&mut self, entry: &Entry, ends: Option<PathBuf>, begins: Option<(PathBuf, usize)>) {
        let path = ends.as_ref().or(begins.as_ref().map(|(path, _)| path)).expect("a name");
        let directory = path.parent().expect("a name lies in a directory").to_owned();
        let naming = Naming { begin: entry.begin, end: entry.end, ends, begins };
        self.directories.entry(directory).or_default().namings.push(naming);
    }
}

impl File {
    /// Whether `write` was waited for with success by tick `at`, and before any wait that failed.
    #[must_use]
    pub fn is_durable(&self, write: &Write, at: u64) -> bool {
        let doomed =
            write.end.and_then(|end| self.failed_syncs.iter().find(|failed| end < **failed));
        is_durable(&self.syncs, write.end, doomed.map_or(at, |failed| at.min(*failed)))
    }
}

impl Names {
    /// Whether `naming` was waited for by tick `at`.
    #[must_use]
    pub fn is_durable(&self, naming: &Naming, at: u64) -> bool {
        is_durable(&self.syncs, naming.end, at)
    }
}

/// A wait covers what had ended when it began, and nothing before it has ended itself.
fn is_durable(syncs: &Waits, ended: Option<u64>, at: u64) -> bool {
    let covers = |ended| {
        move |(begin, end): &(u64, Option<u64>)| ended < *begin && end.is_some_and(|end| end < at)
    };
    ended.is_some_and(|ended| syncs.iter().any(covers(ended)))
}
