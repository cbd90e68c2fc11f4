//! One mutation of one file.

use std::{fmt, fs, ops::Range, path::Path};

use readvault_campaigns::choice::{Choice, noise};

use crate::subject::{Class, Subject, Target};

/// Bytes of a block that is zeroed, and of what counts as a record where a file has none.
const BLOCK_BYTES: usize = 4096;

/// What is done to a file.
#[derive(Debug)]
pub(crate) enum Change {
    FlipBit {
        at: usize,
        bit: u8,
    },
    Zero {
        range: Range<usize>,
    },
    Truncate {
        length: usize,
    },
    Extend {
        bytes: Vec<u8>,
    },
    /// A record is written once more behind itself, or over the next.
    Duplicate {
        record: Range<usize>,
        over: Option<Range<usize>>,
    },
    SwapRecords {
        first: Range<usize>,
        second: Range<usize>,
    },
    SwapFiles {
        with: std::path::PathBuf,
    },
    Older,
}

/// A mutation of one file, and whether its copy suffers the same.
pub(crate) struct Damage {
    pub(crate) target: std::path::PathBuf,
    pub(crate) class: Class,
    pub(crate) change: Change,
    pub(crate) also_copy: Option<std::path::PathBuf>,
}

impl Damage {
    /// Draws a mutation that changes something: first a class, so that small files are met as often as
    /// large ones, then a file, then what is done to it.
    pub(crate) fn draw(subject: &Subject, choice: &Choice) -> Self {
        loop {
            let classes = [
                Class::Pack,
                Class::Pack,
                Class::Pack,
                Class::Table,
                Class::Table,
                Class::Log,
                Class::Log,
                Class::Manifest,
                Class::Current,
                Class::Options,
                Class::Identity,
                Class::Keyring,
                Class::KeyLog,
                Class::ShredSlots,
            ];
            let class = *one(choice, &classes);
            let of_class: Vec<_> =
                subject.targets.iter().filter(|target| target.class == class).collect();
            if of_class.is_empty() {
                continue;
            }
            let target = *one(choice, &of_class);
            if let Some(change) = draw_change(subject, target, choice) {
                let in_place = matches!(change, Change::FlipBit { .. } | Change::Zero { .. });
                let both = in_place && choice.index(4) == 0;
                let also_copy = both.then(|| twin(subject, target)).flatten();
                return Self { target: target.path.clone(), class, change, also_copy };
            }
        }
    }

    /// Damages the vault in `place`.
    pub(crate) fn apply(&self, subject: &Subject, place: &Path) {
        for path in [Some(&self.target), self.also_copy.as_ref()].into_iter().flatten() {
            let file = place.join(path);
            match &self.change {
                Change::SwapFiles { with } => {
                    let with = place.join(with);
                    let (one, other) = (fs::read(&file).unwrap(), fs::read(&with).unwrap());
                    fs::write(&file, other).unwrap();
                    fs::write(&with, one).unwrap();
                }
                Change::Older => {
                    fs::copy(subject.older.join(path), &file).unwrap();
                }
                change => {
                    let bytes = changed(fs::read(&file).unwrap(), change);
                    fs::write(&file, bytes).unwrap();
                }
            }
        }
    }

    /// Names of the files that were touched.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut paths = vec![self.target.clone()];
        paths.extend(self.also_copy.clone());
        if let Change::SwapFiles { with } = &self.change {
            paths.push(with.clone());
        }
        let name = |path: std::path::PathBuf| {
            path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
        };
        paths.into_iter().map(name).collect()
    }
}

fn draw_change(subject: &Subject, target: &Target, choice: &Choice) -> Option<Change> {
    let length = target.length;
    let change = match choice.index(10) {
        0..3 => Change::FlipBit {
            at: flipped(target, choice),
            bit: u8::try_from(choice.below(8)).unwrap(),
        },
        3 => {
            let start = choice.index(length) / BLOCK_BYTES * BLOCK_BYTES;
            Change::Zero { range: start..length.min(start + BLOCK_BYTES) }
        }
        4 => Change::Truncate { length: choice.index(length) },
        5 => {
            let count = 1 + choice.index(2 * BLOCK_BYTES);
            let bytes = if choice.index(2) == 0 {
                vec![0; count]
            } else {
                noise(choice.below(u64::MAX), count).to_vec()
            };
            Change::Extend { bytes }
        }
        6 => {
            let records = records(target);
            let record = one(choice, &records).clone();
            let next = records.iter().find(|next| next.start >= record.end).cloned();
            Change::Duplicate { record, over: next.filter(|_| choice.index(2) == 0) }
        }
        7 => {
            let records = records(target);
            let (first, second) = (one(choice, &records).clone(), one(choice, &records).clone());
            let (first, second) =
                if first.start < second.start { (first, second) } else { (second, first) };
            (first != second).then_some(Change::SwapRecords { first, second })?
        }
        8 => {
            let others = subject.others(target);
            let with = others.get(choice.index(others.len().max(1)))?;
            Change::SwapFiles { with: with.path.clone() }
        }
        _ => Change::Older,
    };
    changes_something(subject, target, &change).then_some(change)
}

fn one<'a, T>(choice: &Choice, some: &'a [T]) -> &'a T {
    &some[choice.index(some.len())]
}

fn changes_something(subject: &Subject, target: &Target, change: &Change) -> bool {
    let now = fs::read(subject.base.join(&target.path)).unwrap();
    match change {
        Change::SwapFiles { with } => fs::read(subject.base.join(with)).unwrap() != now,
        Change::Older => fs::read(subject.older.join(&target.path)).is_ok_and(|older| older != now),
        change => changed(now.clone(), change) != now,
    }
}

/// Half of the flips meet the front or the end of a record or of the file, where all the small fields are.
fn flipped(target: &Target, choice: &Choice) -> usize {
    let edges = records(target);
    let edge = one(choice, &edges);
    let at = match choice.index(6) {
        0 => edge.start + choice.index(96),
        1 => edge.end.saturating_sub(1 + choice.index(24)),
        2 => target.length.saturating_sub(1 + choice.index(64)),
        _ => choice.index(target.length),
    };
    at.min(target.length - 1)
}

/// The records of a file, or its blocks.
fn records(target: &Target) -> Vec<Range<usize>> {
    if !target.records.is_empty() {
        return target.records.clone();
    }
    let starts = (0..target.length).step_by(BLOCK_BYTES);
    starts.map(|start| start..target.length.min(start + BLOCK_BYTES)).collect()
}

fn changed(mut bytes: Vec<u8>, change: &Change) -> Vec<u8> {
    match change {
        Change::FlipBit { at, bit } => bytes[*at] ^= 1 << bit,
        Change::Zero { range } => bytes[range.clone()].fill(0),
        Change::Truncate { length } => bytes.truncate(*length),
        Change::Extend { bytes: more } => bytes.extend_from_slice(more),
        Change::Duplicate { record, over } => {
            let copy = bytes[record.clone()].to_vec();
            bytes.splice(over.clone().unwrap_or(record.end..record.end), copy);
        }
        Change::SwapRecords { first, second } => {
            let (one, other) = (bytes[first.clone()].to_vec(), bytes[second.clone()].to_vec());
            bytes.splice(second.clone(), one);
            bytes.splice(first.clone(), other);
        }
        Change::SwapFiles { .. } | Change::Older => {}
    }
    bytes
}

/// The other copy of a file that is kept twice.
fn twin(subject: &Subject, target: &Target) -> Option<std::path::PathBuf> {
    let twice = matches!(target.class, Class::KeyLog | Class::ShredSlots);
    let others = subject.others(target);
    twice.then(|| others.first().map(|other| other.path.clone())).flatten()
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let both = if self.also_copy.is_some() { " and its copy" } else { "" };
        write!(f, "{}{both}: ", self.target.display())?;
        match &self.change {
            Change::Extend { bytes } => write!(f, "Extend by {} bytes", bytes.len()),
            change => write!(f, "{change:?}"),
        }
    }
}
