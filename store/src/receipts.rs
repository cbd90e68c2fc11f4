//! Receipts of erasures: what was destroyed, signed, and kept apart from what a rebuild restores.
//!
//! An erasure notes its intent here before it destroys anything, and its signed receipt when it is done; so
//! a start can finish what a crash cut short, and a restore can erase again what an older copy brings
//! back. Bytes: `docs/format.md` §8.

mod file;
mod receipt;

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use readvault_ambient::Entropy;

pub use receipt::{Receipt, Shared, SharingItem, Signed, verify};

use self::file::{open, seal};
use crate::{
    Error, ErrorKind, Result,
    disk::{self, Disk, LocalDisk},
    error,
    ids::VaultId,
    seal::{SIGNATURE_BYTES, Signer, VaultKey},
};

/// Most receipts of one vault: eight digits name each.
pub const RECEIPTS_MAX: u32 = 99_999_999;

/// Label of the key that signs receipts.
const SIGNER: &str = "receipt-sign";

/// Ending of the name of each file's copy.
const COPY: &str = ".copy";

/// Most bytes of a file of a receipt.
const FILE_BYTES_MAX: usize = 4 << 20;

/// How far an erasure is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum State {
    /// It was decided on: part of it may be done.
    Intended,
    /// All of it is done, and its receipt is signed.
    Done,
}

/// One erasure, as it is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its number, from 1.
    pub number: u32,
    /// How far it is.
    pub state: State,
    /// What is or will be erased.
    pub receipt: Receipt,
    /// The signature; zeros before it is done.
    pub signature: [u8; SIGNATURE_BYTES],
}

/// The receipts of one vault: two files a receipt, each written whole. One process at a time.
#[derive(Debug)]
pub struct Receipts {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    vault: VaultId,
    vault_key: Arc<VaultKey>,
    entropy: Arc<dyn Entropy>,
    /// The last number that was given.
    last: Mutex<u32>,
}

impl Receipts {
    /// The receipts in `directory`, which is made when it is not there. A file that is absent, cut short
    /// or behind its copy is made again from it.
    ///
    /// # Errors
    /// `Corrupt` when a receipt and its copy are both damaged; `NoSpace`, `Unavailable`.
    pub fn open(
        directory: &Path,
        vault: VaultId,
        vault_key: Arc<VaultKey>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        Self::open_on(Arc::new(LocalDisk), directory, vault, vault_key, entropy)
    }

    /// As [`Receipts::open`], with the files on `disk`.
    ///
    /// # Errors
    /// As [`Receipts::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        directory: &Path,
        vault: VaultId,
        vault_key: Arc<VaultKey>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        disk.make_directory(directory).map_err(error::io("directory of receipts"))?;
        let directory = directory.to_owned();
        let receipts = Self { disk, directory, vault, vault_key, entropy, last: 0.into() };
        let mut last = 0;
        for entry in receipts.all()? {
            last = entry.number;
            receipts.mend(&entry)?;
        }
        *receipts.last.lock() = last;
        Ok(receipts)
    }

    /// Notes that `receipt` describes what will be erased; gives its number. Durable when it returns.
    ///
    /// # Errors
    /// `LimitExceeded` when there are too many; `NoSpace`, `Unavailable`: what was written of it is taken
    /// back, and where that fails, too, it may stand and be carried out by the next start.
    pub fn intend(&self, receipt: &Receipt) -> Result<u32> {
        let mut last = self.last.lock();
        if *last >= RECEIPTS_MAX {
            return Err(Error::new(ErrorKind::LimitExceeded, "count of receipts"));
        }
        // A number whose file could not be written is passed over: what is on the disk is not known.
        *last += 1;
        let (number, signature) = (*last, [0; SIGNATURE_BYTES]);
        let receipt = Receipt { number, ..receipt.clone() };
        let entry = Entry { number, state: State::Intended, receipt, signature };
        if let Err(cause) = self.write(&entry) {
            self.take_back(number);
            return Err(cause);
        }
        Ok(number)
    }

    /// Removes an intent that could not be written whole, as far as the disk lets it.
    fn take_back(&self, number: u32) {
        for path in paths_of(&self.directory, number) {
            let _ = self.disk.remove(&path);
        }
        if let Err(cause) = self.disk.sync_directory(&self.directory) {
            tracing::error!(number, %cause, "an intent to erase may stand though it was refused");
        }
    }

    /// Signs `receipt`, whose erasure is done, and keeps it in place of its intent. Durable when it
    /// returns; idempotent.
    ///
    /// # Errors
    /// `NoSpace`, `Unavailable`; then the intent stands.
    pub fn finish(&self, receipt: &Receipt) -> Result<Signed> {
        let signer = self.signer();
        let signed = receipt.signed_by(&signer);
        let entry = Entry {
            number: receipt.number,
            state: State::Done,
            receipt: receipt.clone(),
            signature: signer.sign(&receipt.message()),
        };
        self.write(&entry)?;
        Ok(signed)
    }

    /// All receipts and intents, by number.
    ///
    /// # Errors
    /// As [`Receipts::open`].
    pub fn all(&self) -> Result<Vec<Entry>> {
        read_on(&*self.disk, &self.directory, self.vault, &self.vault_key)
    }

    /// A receipt as it is handed out.
    #[must_use]
    pub fn signed(&self, entry: &Entry) -> Signed {
        entry.receipt.signed_by(&self.signer())
    }

    /// The public key that every receipt of this vault is signed for.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.signer().public()
    }

    fn signer(&self) -> Signer {
        Signer::derive(&self.vault_key, SIGNER)
    }

    fn mend(&self, entry: &Entry) -> Result<()> {
        for path in paths_of(&self.directory, entry.number) {
            let found = read_file(&*self.disk, &path, self.vault, &self.vault_key)?;
            if found.as_ref() != Some(entry) {
                self.write_one(&path, entry)?;
            }
        }
        Ok(())
    }

    fn write(&self, entry: &Entry) -> Result<()> {
        paths_of(&self.directory, entry.number)
            .iter()
            .try_for_each(|path| self.write_one(path, entry))
    }

    fn write_one(&self, path: &Path, entry: &Entry) -> Result<()> {
        let bytes = seal(entry, self.vault, &self.vault_key, &*self.entropy);
        disk::replace(&*self.disk, path, &bytes).map_err(error::io("receipt"))
    }
}

/// The receipts and intents in `directory`, by number; none when it is not there. Of a receipt and its
/// copy the one that is further counts. Changes nothing: for a restore, which erases all of it again.
///
/// # Errors
/// `Corrupt` when a receipt and its copy are both damaged; `Unavailable`.
pub fn read(directory: &Path, vault: VaultId, vault_key: &VaultKey) -> Result<Vec<Entry>> {
    read_on(&LocalDisk, directory, vault, vault_key)
}

/// As [`read`], with the files on `disk`.
///
/// # Errors
/// As [`read`].
pub fn read_on(
    disk: &dyn Disk,
    directory: &Path,
    vault: VaultId,
    vault_key: &VaultKey,
) -> Result<Vec<Entry>> {
    let paths = match disk.list(directory) {
        Ok(paths) => paths,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(error::io("directory of receipts")(cause)),
    };
    let names = paths.iter().filter_map(|path| path.file_name()?.to_str());
    let numbers: BTreeSet<_> = names.filter_map(number_of).collect();
    numbers
        .into_iter()
        .map(|number| {
            let mut best: Option<Entry> = None;
            for path in paths_of(directory, number) {
                if let Some(entry) = read_file(disk, &path, vault, vault_key)?
                    && entry.number == number
                    && best.as_ref().is_none_or(|best| best.state < entry.state)
                {
                    best = Some(entry);
                }
            }
            best.ok_or_else(|| Error::corrupt(format!("receipt {number} and its copy")))
        })
        .collect()
}

/// The entry of one file; none when it is absent or damaged.
fn read_file(
    disk: &dyn Disk,
    path: &Path,
    vault: VaultId,
    vault_key: &VaultKey,
) -> Result<Option<Entry>> {
    match disk::read(disk, path, FILE_BYTES_MAX) {
        Ok(bytes) => Ok(open(&bytes, vault, vault_key).ok()),
        Err(cause)
            if matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) =>
        {
            Ok(None)
        }
        Err(cause) => Err(error::io("receipt")(cause)),
    }
}

/// The file of a receipt, and its copy.
fn paths_of(directory: &Path, number: u32) -> [PathBuf; 2] {
    let name = format!("{number:08}");
    [directory.join(&name), directory.join(name + COPY)]
}

fn number_of(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(COPY).unwrap_or(name);
    let plain = digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|number| plain && *number > 0)
}

#[cfg(test)]
mod tests;
