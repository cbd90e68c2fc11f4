//! What a disk may hold after the power went at one moment of a history.
//!
//! What was waited for is there. Of what was not, each file may hold nothing, all, a beginning, a beginning
//! with zeros behind, or any of its sectors of 512 bytes; and each directory none, all, the first, or any of
//! its names' changes.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    choice::Choice,
    history::{File, History, Write},
};

/// What a disk writes as a whole or not at all.
const SECTOR_BYTES: usize = 512;

/// How a state is chosen.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// Nothing that was not waited for is there.
    All,
    /// Everything is there.
    None,
    /// All names are there, and only durable bytes.
    Bytes,
    /// All bytes are there, and only durable names.
    Names,
    /// Each file and directory by a draw from this seed.
    Drawn(u64),
}

/// One moment, and what was lost then.
#[derive(Clone, Copy, Debug)]
pub struct Crash {
    /// The tick.
    pub at: u64,
    /// The loss.
    pub loss: Loss,
}

/// The files of one state.
pub type State = BTreeMap<PathBuf, Vec<u8>>;

impl Crash {
    /// The files that the disk holds.
    #[must_use]
    pub fn state(&self, history: &History) -> State {
        let choice = Choice::new(match self.loss {
            Loss::Drawn(seed) => seed,
            _ => 0,
        });
        let names = self.names(history, &choice);
        let mut state = State::new();
        let mut bytes_of = BTreeMap::new();
        for (path, file) in names {
            let bytes =
                bytes_of.entry(file).or_insert_with(|| self.bytes(&history.files[file], &choice));
            state.insert(path, bytes.clone());
        }
        state
    }

    fn names(&self, history: &History, choice: &Choice) -> BTreeMap<PathBuf, usize> {
        let mut names = history.base.clone();
        for directory in history.directories.values() {
            let mut apply = |naming: &crate::history::Naming| {
                if let Some(path) = &naming.ends {
                    names.remove(path);
                }
                if let Some((path, file)) = &naming.begins {
                    names.insert(path.clone(), *file);
                }
            };
            let begun = directory.namings.iter().filter(|naming| naming.begin < self.at);
            let (kept, open): (Vec<_>, Vec<_>) =
                begun.partition(|naming| directory.is_durable(naming, self.at));
            kept.into_iter().for_each(&mut apply);
            let way = match self.loss {
                Loss::All | Loss::Names => 0,
                Loss::None | Loss::Bytes => 1,
                Loss::Drawn(_) => choice.below(4),
            };
            match way {
                0 => {}
                1 => open.into_iter().for_each(&mut apply),
                2 => {
                    let first = choice.index(open.len() + 1);
                    open.into_iter().take(first).for_each(&mut apply);
                }
                _ => open.into_iter().filter(|_| choice.once_in(2)).for_each(&mut apply),
            }
        }
        names
    }

    fn bytes(&self, file: &File, choice: &Choice) -> Vec<u8> {
        let begun = file.writes.iter().filter(|write| write.begin < self.at);
        let (kept, open): (Vec<_>, Vec<_>) =
            begun.partition(|write| file.is_durable(write, self.at));
        let mut bytes = file.base.to_vec();
        kept.into_iter().for_each(|write| apply(&mut bytes, write));
        let way = match self.loss {
            Loss::All | Loss::Bytes => 0,
            Loss::None | Loss::Names => 1,
            Loss::Drawn(_) => choice.below(5),
        };
        match way {
            0 => {}
            1 => open.into_iter().for_each(|write| apply(&mut bytes, write)),
            2 => prefix(&mut bytes, &open, choice, Tail::Cut),
            3 => prefix(&mut bytes, &open, choice, Tail::Zeros),
            _ => sectors(&mut bytes, &open, choice),
        }
        bytes
    }
}

/// What stands behind a beginning that was kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    Cut,
    Zeros,
}

fn apply(bytes: &mut Vec<u8>, write: &Write) {
    let Some(new) = &write.bytes else { return bytes.resize(write.offset, 0) };
    let end = write.offset + new.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[write.offset..end].copy_from_slice(new);
}

/// The first writes, and of the next the bytes up to some sector.
fn prefix(bytes: &mut Vec<u8>, open: &[&Write], choice: &Choice, tail: Tail) {
    let whole = choice.index(open.len() + 1);
    open[..whole].iter().for_each(|write| apply(bytes, write));
    let length = bytes.len();
    if let Some(torn) = open.get(whole)
        && let Some(new) = &torn.bytes
    {
        let end = torn.offset + new.len();
        let sectors = end / SECTOR_BYTES - torn.offset / SECTOR_BYTES;
        let cut = (torn.offset / SECTOR_BYTES + choice.index(sectors + 1)) * SECTOR_BYTES;
        let some = cut.saturating_sub(torn.offset).min(new.len());
        let torn = Write { bytes: Some(new.slice(..some)), ..(*torn).clone() };
        apply(bytes, &torn);
    }
    if tail == Tail::Zeros {
        let mut whole = bytes.clone();
        open.iter().for_each(|write| apply(&mut whole, write));
        bytes.resize(whole.len().max(length), 0);
    }
}

/// Any sectors of all writes; the others are as they were, or zeros where there were none.
fn sectors(bytes: &mut Vec<u8>, open: &[&Write], choice: &Choice) {
    let old = bytes.clone();
    open.iter().for_each(|write| apply(bytes, write));
    let length = bytes.len();
    for start in (0..length).step_by(SECTOR_BYTES) {
        let end = (start + SECTOR_BYTES).min(length);
        let touched = open.iter().any(|write| {
            let written = write.bytes.as_ref().map_or(0, bytes::Bytes::len);
            write.offset < end && start < write.offset + written
        });
        if !touched || choice.once_in(2) {
            continue;
        }
        for (at, byte) in bytes.iter_mut().enumerate().take(end).skip(start) {
            *byte = old.get(at).copied().unwrap_or(0);
        }
    }
}

/// Writes `state` into the empty directory `target`, with the directories of that moment.
///
/// # Errors
/// Those of the file system.
pub fn materialise(state: &State, history: &History, at: u64, target: &Path) -> io::Result<()> {
    for (_, directory) in history.made.iter().filter(|(made, _)| *made < at) {
        fs::create_dir_all(target.join(directory))?;
    }
    for (path, bytes) in state {
        fs::write(target.join(path), bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Change, Entry};

    fn history() -> History {
        let path = PathBuf::from("d/f");
        let write = |fill| Change::Write("d/f".into(), None, vec![fill; 1000].into());
        let changes = [
            Change::MakeDirectory("d".into()),
            Change::Create(path.clone()),
            write(1),
            Change::Sync(path.clone()),
            Change::SyncDirectory("d".into()),
            write(2),
            Change::Rename(path.clone(), "d/g".into()),
            Change::Sync("d/g".into()),
        ];
        let entries = changes.into_iter().zip(0_u64..);
        let entries: Vec<_> = entries
            .map(|(change, n)| Entry { begin: 10 * n, end: Some(10 * n + 5), change })
            .collect();
        History::new(BTreeMap::new(), &entries)
    }

    #[test]
    fn what_was_waited_for_stays_and_the_rest_may_go() {
        let history = history();
        let state = |at, loss| Crash { at, loss }.state(&history);
        assert!(state(34, Loss::All).is_empty(), "the name was not waited for");
        let names_only = state(34, Loss::Bytes);
        assert!(names_only[Path::new("d/f")].is_empty(), "the sync had not ended");
        let first = state(46, Loss::All);
        assert_eq!(first[Path::new("d/f")], [1; 1000]);
        let last = state(100, Loss::All);
        assert_eq!(last.keys().collect::<Vec<_>>(), [Path::new("d/f")], "the rename may be undone");
        assert_eq!(last[Path::new("d/f")].len(), 2000, "the bytes may not");
        assert_eq!(state(100, Loss::None)[Path::new("d/g")].len(), 2000);
        for seed in 0..500 {
            let drawn = state(66, Loss::Drawn(seed));
            assert_eq!(drawn.len(), 1);
            let bytes = drawn.values().next().unwrap();
            assert_eq!(bytes[..1000], [1; 1000], "durable bytes are never lost");
        }
    }
}
