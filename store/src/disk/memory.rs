//! Files in memory. They outlive the vaults that are started on them, and lose at a loss of power what was
//! not synced.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, IoSlice},
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{Disk, DiskFile, OpenAs};

/// A disk in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    nodes: Vec<Node>,
    /// The names as a process sees them, and as a loss of power would leave them.
    names: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    /// How often the power failed: who opened a file before has it no more.
    losses: u64,
}

/// The bytes of a test that fails are not shown: there are too many.
impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({} files, {} losses)", self.nodes.len(), self.losses)
    }
}

#[derive(Default)]
struct Node {
    bytes: Vec<u8>,
    /// The writes since the last sync, oldest first.
    unsynced: Vec<Unsynced>,
}

/// A write, and what it replaced.
struct Unsynced {
    offset: usize,
    written: usize,
    before: Vec<u8>,
    /// Bytes of the file before.
    length: usize,
}

#[derive(Debug)]
struct MemoryFile {
    held: Arc<Mutex<Held>>,
    node: usize,
    losses: u64,
}

impl MemoryDisk {
    /// Loses power. Of the unsynced writes of each file the first `kept` 256ths stay and, for an odd `kept`,
    /// half of the next; unsynced names stay from 128 on.
    pub fn lose_power(&self, kept: u8) {
        let mut held = self.0.lock();
        held.losses += 1;
        if kept < 128 {
            held.names = held.durable.clone();
        } else {
            held.durable = held.names.clone();
        }
        for node in &mut held.nodes {
            let stay = node.unsynced.len() * usize::from(kept) / 256;
            let lost = node.unsynced.split_off(stay);
            for (number, write) in lost.into_iter().enumerate().rev() {
                node.undo(&write, number == 0 && kept % 2 == 1);
            }
            node.unsynced.clear();
        }
    }
}

impl Node {
    fn write(&mut self, bytes: &[u8], offset: usize) {
        let (length, end) = (self.bytes.len(), offset + bytes.len());
        self.bytes.resize(length.max(end), 0);
        let before = self.bytes[offset..end.min(length).max(offset)].to_vec();
        self.bytes[offset..end].copy_from_slice(bytes);
        self.unsynced.push(Unsynced { offset, written: bytes.len(), before, length });
    }

    /// Undoes the newest write; of a torn one at the end of the file half stays.
    fn undo(&mut self, write: &Unsynced, torn: bool) {
        let stays = if torn && write.before.is_empty() { write.written / 2 } else { 0 };
        let end = if stays > 0 { write.offset + stays } else { write.length };
        self.bytes.truncate(end);
        let before = write.offset..write.offset + write.before.len();
        self.bytes[before].copy_from_slice(&write.before);
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, how: OpenAs) -> io::Result<Box<dyn DiskFile>> {
        let mut held = self.0.lock();
        let found = held.names.get(path).copied();
        let node = match (found, how) {
            (Some(_), OpenAs::New) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(node), _) => node,
            (None, OpenAs::New) => {
                held.nodes.push(Node::default());
                let node = held.nodes.len() - 1;
                held.names.insert(path.to_owned(), node);
                node
            }
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        let losses = held.losses;
        Ok(Box::new(MemoryFile { held: self.0.clone(), node, losses }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut held = self.0.lock();
        let node = held.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        held.names.insert(to.to_owned(), node);
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut held = self.0.lock();
        let node = *held.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        if held.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        held.names.insert(to.to_owned(), node);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.0.lock().names.remove(path);
        removed.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let held = self.0.lock();
        let here = held.names.keys().filter(|path| path.parent() == Some(directory));
        Ok(here.cloned().collect())
    }

    fn make_directory(&self, _directory: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut held = self.0.lock();
        let is_here = |path: &PathBuf| path.parent() == Some(directory);
        let names: Vec<_> = held.names.iter().filter(|(path, _)| is_here(path)).collect();
        let names: Vec<_> = names.into_iter().map(|(path, node)| (path.clone(), *node)).collect();
        held.durable.retain(|path, _| !is_here(path));
        held.durable.extend(names);
        Ok(())
    }
}

impl MemoryFile {
    fn with<T>(&self, act: impl FnOnce(&mut Node) -> io::Result<T>) -> io::Result<T> {
        let mut held = self.held.lock();
        if held.losses != self.losses {
            return Err(io::Error::other("the power failed"));
        }
        act(&mut held.nodes[self.node])
    }
}

impl DiskFile for MemoryFile {
    fn write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.with(|node| {
            let whole = pieces.iter().flat_map(|piece| piece.iter().copied()).collect::<Vec<_>>();
            node.write(&whole, node.bytes.len());
            Ok(whole.len())
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.with(|node| {
            node.write(bytes, usize::try_from(offset).map_err(io::Error::other)?);
            Ok(bytes.len())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|node| {
            node.unsynced.clear();
            Ok(())
        })
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|node| {
            let start = usize::try_from(offset).map_err(io::Error::other)?;
            let bytes = node.bytes.get(start..).and_then(|rest| rest.get(..buffer.len()));
            buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn read_cached_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        self.read_exact_at(buffer, offset).map(|()| true)
    }

    fn length(&self) -> io::Result<u64> {
        self.with(|node| Ok(node.bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{replace, sync_parent, write_all};

    fn bytes(disk: &MemoryDisk, path: &str) -> Option<Vec<u8>> {
        crate::disk::read(disk, Path::new(path), 1 << 20).ok()
    }

    fn append(disk: &MemoryDisk, path: &str, text: &[u8]) {
        let file = disk.open(Path::new(path), OpenAs::Append).unwrap();
        write_all(&*file, &mut [IoSlice::new(text)]).unwrap();
    }

    #[test]
    fn what_was_not_synced_is_lost() {
        let disk = MemoryDisk::default();
        replace(&disk, Path::new("d/a"), b"first").unwrap();
        append(&disk, "d/a", b"second");
        drop(disk.open(Path::new("d/b"), OpenAs::New).unwrap());
        disk.lose_power(0);
        assert_eq!(bytes(&disk, "d/a").unwrap(), b"first");
        assert_eq!(bytes(&disk, "d/b"), None);
        append(&disk, "d/a", b"second");
        disk.lose_power(1);
        assert_eq!(bytes(&disk, "d/a").unwrap(), b"firstsec", "a torn write");
        append(&disk, "d/a", b"more");
        disk.lose_power(0);
        assert_eq!(bytes(&disk, "d/a").unwrap(), b"firstsec");
    }

    #[test]
    fn writes_in_the_middle_are_undone_newest_first() {
        let disk = MemoryDisk::default();
        replace(&disk, Path::new("d/a"), b"0123456789").unwrap();
        let file = disk.open(Path::new("d/a"), OpenAs::Update).unwrap();
        file.write_at(b"abc", 2).unwrap();
        file.write_at(b"defghij", 4).unwrap();
        assert_eq!(bytes(&disk, "d/a").unwrap(), b"01abdefghij");
        disk.lose_power(128);
        assert_eq!(bytes(&disk, "d/a").unwrap(), b"01abc56789");
        assert!(file.sync_data().is_err(), "the power failed");
    }

    #[test]
    fn names_are_durable_with_their_directory() {
        let disk = MemoryDisk::default();
        drop(disk.open(Path::new("d/a"), OpenAs::New).unwrap());
        sync_parent(&disk, Path::new("d/a")).unwrap();
        disk.rename(Path::new("d/a"), Path::new("d/b")).unwrap();
        disk.lose_power(0);
        assert_eq!(disk.list(Path::new("d")).unwrap(), [Path::new("d/a")]);
        disk.remove(Path::new("d/a")).unwrap();
        disk.lose_power(255);
        assert_eq!(disk.list(Path::new("d")).unwrap(), [] as [&Path; 0]);
    }
}
