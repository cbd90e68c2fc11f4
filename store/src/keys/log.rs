//! The key log: every wrapped key of a vault, in two copies, appended to and never rewritten.

use std::{
    collections::HashMap,
    io::{self, IoSlice},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    DomainEntry, KeyEntry, StoreEntry,
    log_file::{Ending, Parsed, frame, header, parse},
};
use crate::{
    Error, ErrorKind, Result,
    disk::{Disk, DiskFile, OpenAs, read, replace, write_all},
    error,
    ids::{DomainId, StoreId, VaultId},
};

/// Most bytes of a key log that is opened.
const LOG_BYTES_MAX: usize = 1 << 30;

/// What errors call the log and its copy.
const NAMES: [&str; 2] = ["key log", "copy of the key log"];

/// The key log of one vault, open for appending. One process at a time.
#[derive(Debug)]
pub struct KeyLog {
    vault: VaultId,
    entries: Vec<KeyEntry>,
    stores: HashMap<StoreId, Arc<StoreEntry>>,
    domains: HashMap<DomainId, Vec<DomainEntry>>,
    of_stores: HashMap<StoreId, DomainId>,
    paths: [PathBuf; 2],
    files: [Box<dyn DiskFile>; 2],
    failed: bool,
}

/// A log file as it was found.
struct Found {
    bytes: Vec<u8>,
    parsed: Parsed,
}

impl KeyLog {
    /// Makes an empty log at `path` and its copy at `copy`. Durable when it returns.
    ///
    /// # Errors
    /// `AlreadyExists`, `NoSpace`, `Unavailable`.
    pub fn create(disk: &dyn Disk, path: &Path, copy: &Path, vault: VaultId) -> Result<Self> {
        if is_there(disk, path)? || is_there(disk, copy)? {
            return Err(Error::new(ErrorKind::AlreadyExists, "key log"));
        }
        replace_both(disk, [path, copy], &header(vault))?;
        Self::over(disk, [path, copy], vault, Vec::new())
    }

    /// Opens the log. A torn last append is dropped; a copy that is absent, torn, damaged or behind
    /// is made again from the other.
    ///
    /// # Errors
    /// `NotFound` when neither is there; `Corrupt`, with the place, when both are damaged or they
    /// disagree; `Unavailable`, `NoSpace`.
    pub fn open(disk: &dyn Disk, path: &Path, copy: &Path) -> Result<Self> {
        let Found { bytes, parsed } = found(disk, path, copy)?;
        let sound = &bytes[..parsed.sound_bytes];
        for (path, name) in [path, copy].into_iter().zip(NAMES) {
            if read(disk, path, LOG_BYTES_MAX).ok().as_deref() != Some(sound) {
                tracing::warn!(name, "a key log was cut short or damaged; it is made again");
                replace(disk, path, sound).map_err(error::io(name))?;
            }
        }
        Self::over(disk, [path, copy], parsed.vault, parsed.entries)
    }

    /// The vault that the log belongs to.
    #[must_use]
    pub fn vault(&self) -> VaultId {
        self.vault
    }

    /// All entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[KeyEntry] {
        &self.entries
    }

    /// Appends entries: first to the log, synced, then to its copy, synced. Durable in both when it
    /// returns; before that no key of them may be used.
    ///
    /// # Errors
    /// `NoSpace`, `Unavailable`. After an error the log refuses all appends until it is opened
    /// again: [`KeyLog::open_anew`].
    pub fn append(&mut self, entries: &[KeyEntry]) -> Result<()> {
        if self.failed {
            return Err(Error::new(ErrorKind::Unavailable, "the key log failed before"));
        }
        let bytes: Vec<u8> = entries.iter().flat_map(frame).collect();
        self.failed = true;
        for file in &self.files {
            write_all(&**file, &mut [IoSlice::new(&bytes)])
                .and_then(|()| file.sync_data())
                .map_err(error::io("append to the key log"))?;
        }
        self.failed = false;
        entries.iter().for_each(|entry| self.take_in(entry.clone()));
        Ok(())
    }

    /// Opens the log again after an append that failed, which drops what that left of itself; nothing
    /// otherwise. Both files are made again: after a sync that failed, bytes that can be read need not be on
    /// the disk, and no later sync would bring them there.
    ///
    /// # Errors
    /// As [`KeyLog::open`]; `Corrupt` when entries are gone.
    pub fn open_anew(&mut self, disk: &dyn Disk) -> Result<()> {
        if !self.failed {
            return Ok(());
        }
        let [path, copy] = &self.paths;
        let Found { bytes, parsed } = found(disk, path, copy)?;
        if parsed.vault != self.vault || !parsed.entries.starts_with(&self.entries) {
            return Err(Error::corrupt("the key log lost entries"));
        }
        replace_both(disk, [path, copy], &bytes[..parsed.sound_bytes])?;
        *self = Self::over(disk, [path, copy], parsed.vault, parsed.entries)?;
        Ok(())
    }

    /// The newest entry of `store`.
    pub(super) fn store(&self, store: StoreId) -> Option<Arc<StoreEntry>> {
        self.stores.get(&store).cloned()
    }

    /// The newest entry of every store, in no order.
    pub(super) fn stores(&self) -> impl Iterator<Item = &StoreEntry> {
        self.stores.values().map(|entry| &**entry)
    }

    /// The entries of `domain`, for whichever store, oldest first.
    pub(super) fn domain(&self, domain: DomainId) -> &[DomainEntry] {
        self.domains.get(&domain).map_or(&[], Vec::as_slice)
    }

    /// The domains that `store` has entries for.
    pub(super) fn domains_of(&self, store: StoreId) -> Vec<DomainId> {
        let of_store =
            |entries: &Vec<DomainEntry>| entries.iter().any(|entry| entry.store == store);
        let domains = self.domains.iter().filter(|(_, entries)| of_store(entries));
        domains.map(|(domain, _)| *domain).collect()
    }

    /// The domain of `store`.
    pub(super) fn domain_of(&self, store: StoreId) -> Option<DomainId> {
        self.of_stores.get(&store).copied()
    }

    fn take_in(&mut self, entry: KeyEntry) {
        match &entry {
            KeyEntry::Vault(_) | KeyEntry::Catalog(_) => {}
            KeyEntry::Store(entry) => {
                self.stores.insert(entry.store, Arc::new(entry.clone()));
            }
            KeyEntry::Domain(entry) => {
                self.of_stores.insert(entry.store, entry.domain);
                self.domains.entry(entry.domain).or_default().push(entry.clone());
            }
        }
        self.entries.push(entry);
    }

    fn over(
        disk: &dyn Disk,
        [path, copy]: [&Path; 2],
        vault: VaultId,
        entries: Vec<KeyEntry>,
    ) -> Result<Self> {
        let files = [
            disk.open(path, OpenAs::Append).map_err(error::io(NAMES[0]))?,
            disk.open(copy, OpenAs::Append).map_err(error::io(NAMES[1]))?,
        ];
        let mut log = Self {
            vault,
            entries: Vec::new(),
            stores: HashMap::new(),
            domains: HashMap::new(),
            of_stores: HashMap::new(),
            paths: [path.to_owned(), copy.to_owned()],
            files,
            failed: false,
        };
        entries.into_iter().for_each(|entry| log.take_in(entry));
        Ok(log)
    }
}

/// Whether there is a file `path`, whatever it holds.
pub(super) fn is_there(disk: &dyn Disk, path: &Path) -> Result<bool> {
    match disk.open(path, OpenAs::Read) {
        Ok(_) => Ok(true),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(error::io("key log")(cause)),
    }
}

/// What the log and its copy hold together.
fn found(disk: &dyn Disk, path: &Path, copy: &Path) -> Result<Found> {
    choose(find(disk, path, NAMES[0])?, find(disk, copy, NAMES[1])?)
}

/// Makes both files anew. Durable when it returns.
fn replace_both(disk: &dyn Disk, paths: [&Path; 2], bytes: &[u8]) -> Result<()> {
    for (path, name) in paths.into_iter().zip(NAMES) {
        replace(disk, path, bytes).map_err(error::io(name))?;
    }
    Ok(())
}

fn find(disk: &dyn Disk, path: &Path, name: &'static str) -> Result<Option<Found>> {
    let bytes = match read(disk, path, LOG_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(error::io(name)(cause)),
    };
    match parse(&bytes) {
        Ok(parsed) => Ok(Some(Found { bytes, parsed })),
        // A header that was never finished, or damage: the other copy decides.
        Err(cause) => {
            tracing::warn!(name, %cause, "a key log can't be read");
            Ok(None)
        }
    }
}

/// The longer of the sound logs, of the log first and its copy second; the shorter must be its beginning.
fn choose(first: Option<Found>, second: Option<Found>) -> Result<Found> {
    let (log, copy) = match (first, second) {
        (None, None) => return Err(Error::new(ErrorKind::NotFound, "key log")),
        (Some(only), None) | (None, Some(only)) => return undamaged(only),
        (Some(log), Some(copy)) => (log, copy),
    };
    let both = log.parsed.sound_bytes.min(copy.parsed.sound_bytes);
    if log.bytes[..both] != copy.bytes[..both] {
        return Err(Error::corrupt("the key log and its copy disagree"));
    }
    // An append reaches the copy once the log has it for good. So of what a whole copy has not, nothing was
    // acknowledged, and an append of several entries that was cut short may have left any sectors of itself.
    let was_appending = log.parsed.ending == Ending::Damaged
        && log.parsed.sound_bytes >= copy.parsed.sound_bytes
        && copy.parsed.ending == Ending::Whole;
    if was_appending {
        return Ok(copy);
    }
    // Damage hides what came behind it, unless the other has as much and was whole up to its own end.
    let as_much = log.parsed.sound_bytes == copy.parsed.sound_bytes;
    match (log.parsed.ending, copy.parsed.ending) {
        (Ending::Damaged, _) if as_much => undamaged(copy),
        _ if log.parsed.sound_bytes >= copy.parsed.sound_bytes => undamaged(log),
        _ => undamaged(copy),
    }
}

fn undamaged(found: Found) -> Result<Found> {
    if found.parsed.ending == Ending::Damaged {
        let at = found.parsed.sound_bytes;
        return Err(Error::corrupt(format!("the key log is damaged at byte {at}")));
    }
    Ok(found)
}
