//! Receipts of erasures: what was destroyed, signed, and kept apart from what a rebuild restores.
//!
//! An erasure notes its intent here before it destroys anything, and its signed receipt when it is done; so
//! a start can finish what a crash cut short, and a restore can erase again what an older copy brings
//! back. Bytes: `docs/format.md` §8.

mod file;
mod receipt;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use readvault_ambient::Entropy;

pub use receipt::{Receipt, Shared, SharingItem, Signed, verify};

use self::file::{open, seal};
use crate::{
    Error, ErrorKind, Result, error,
    ids::VaultId,
    seal::{SIGNATURE_BYTES, Signer, VaultKey},
};

/// Most receipts of one vault: eight digits name each.
pub const RECEIPTS_MAX: u32 = 99_999_999;

/// Label of the key that signs receipts.
const SIGNER: &str = "receipt-sign";

/// Ending of the name of each file's copy.
const COPY: &str = ".copy";

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
        fs::create_dir_all(directory).map_err(error::io("directory of receipts"))?;
        let receipts =
            Self { directory: directory.to_owned(), vault, vault_key, entropy, last: 0.into() };
        let mut last = 0;
        for entry in read(directory, vault, &receipts.vault_key)? {
            last = entry.number;
            receipts.mend(&entry)?;
        }
        *receipts.last.lock() = last;
        Ok(receipts)
    }

    /// Notes that `receipt` describes what will be erased; gives its number. Durable when it returns.
    ///
    /// # Errors
    /// `LimitExceeded` when there are too many; `NoSpace`, `Unavailable`.
    pub fn intend(&self, receipt: &Receipt) -> Result<u32> {
        let mut last = self.last.lock();
        if *last >= RECEIPTS_MAX {
            return Err(Error::new(ErrorKind::LimitExceeded, "count of receipts"));
        }
        // A number whose file could not be written is passed over: what is on the disk is not known.
        *last += 1;
        let (number, signature) = (*last, [0; SIGNATURE_BYTES]);
        let receipt = Receipt { number, ..receipt.clone() };
        self.write(&Entry { number, state: State::Intended, receipt, signature })?;
        Ok(number)
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
        read(&self.directory, self.vault, &self.vault_key)
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
        for path in paths(&self.directory, entry.number) {
            let found = read_file(&path, self.vault, &self.vault_key)?;
            if found.as_ref() != Some(entry) {
                self.write_one(&path, entry)?;
            }
        }
        Ok(())
    }

    fn write(&self, entry: &Entry) -> Result<()> {
        paths(&self.directory, entry.number).iter().try_for_each(|path| self.write_one(path, entry))
    }

    fn write_one(&self, path: &Path, entry: &Entry) -> Result<()> {
        let bytes = seal(entry, self.vault, &self.vault_key, &*self.entropy);
        replace(path, &bytes).map_err(error::io("receipt"))
    }
}

/// The receipts and intents in `directory`, by number; none when it is not there. Of a receipt and its
/// copy the one that is further counts. Changes nothing: for a restore, which erases all of it again.
///
/// # Errors
/// `Corrupt` when a receipt and its copy are both damaged; `Unavailable`.
pub fn read(directory: &Path, vault: VaultId, vault_key: &VaultKey) -> Result<Vec<Entry>> {
    let mut found = BTreeMap::new();
    let names = match fs::read_dir(directory) {
        Ok(names) => names,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(error::io("directory of receipts")(cause)),
    };
    for name in names {
        let name = name.map_err(error::io("directory of receipts"))?.file_name();
        if let Some(number) = name.to_str().and_then(number_of) {
            found.insert(number, ());
        }
    }
    found.into_keys().map(|number| read_both(directory, number, vault, vault_key)).collect()
}

fn read_both(directory: &Path, number: u32, vault: VaultId, vault_key: &VaultKey) -> Result<Entry> {
    let mut best: Option<Entry> = None;
    for path in paths(directory, number) {
        if let Some(entry) = read_file(&path, vault, vault_key)?
            && entry.number == number
            && best.as_ref().is_none_or(|best| best.state < entry.state)
        {
            best = Some(entry);
        }
    }
    best.ok_or_else(|| Error::corrupt(format!("receipt {number} and its copy")))
}

/// The entry of one file; none when it is absent or damaged.
fn read_file(path: &Path, vault: VaultId, vault_key: &VaultKey) -> Result<Option<Entry>> {
    match fs::read(path) {
        Ok(bytes) => Ok(open(&bytes, vault, vault_key).ok()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(error::io("receipt")(cause)),
    }
}

/// The file of a receipt, and its copy.
fn paths(directory: &Path, number: u32) -> [PathBuf; 2] {
    let name = format!("{number:08}");
    [directory.join(&name), directory.join(name + COPY)]
}

fn number_of(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(COPY).unwrap_or(name);
    let plain = digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|number| plain && *number > 0)
}

/// Replaces `path` by a file of these bytes, whole or not at all.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let fresh = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests;
