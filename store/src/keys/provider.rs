//! Who wraps keys.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use parking_lot::Mutex;
use readvault_ambient::Entropy;

use super::{Context, keyring};
use crate::{
    Error, ErrorKind, Result,
    seal::{DataKey, Reader, RecordError, RootKey, SecretKey, put_lp},
};

const KEY_ID_BYTES_MAX: usize = 2048;
const WRAPPED_BYTES_MAX: usize = 16 << 10;

/// What the names of a [`MemoryKeyProvider`]'s keys begin with; their number follows, from 1.
const MEMORY_KEY: &str = "memory/v";

/// What kind of provider wrapped a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum WrapKind {
    /// A keyring.
    Keyring = 1,
    /// AWS KMS.
    Kms = 2,
}

/// A wrapped key. Plain data that opens nothing without its provider.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct WrappedKey {
    /// What kind of provider wrapped it.
    pub kind: WrapKind,
    /// Name of the master key, at most 2 KiB.
    pub key_id: String,
    /// The wrapped bytes, at most 16 KiB.
    pub bytes: Vec<u8>,
}

impl WrappedKey {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.push(self.kind as u8);
        put_lp(out, self.key_id.as_bytes());
        put_lp(out, &self.bytes);
    }

    pub(super) fn decode(fields: &mut Reader<'_>) -> Result<Self, RecordError> {
        let kind = match fields.u8()? {
            1 => WrapKind::Keyring,
            2 => WrapKind::Kms,
            _ => return Err(RecordError::Unsupported),
        };
        let key_id = fields.text(KEY_ID_BYTES_MAX)?;
        Ok(Self { kind, key_id, bytes: fields.lp(WRAPPED_BYTES_MAX)?.to_vec() })
    }
}

/// Makes and unwraps data keys. Never gives a key in a context other than the one it was made in.
#[async_trait]
pub trait KeyProvider: Send + Sync + fmt::Debug {
    /// Name of the master key that wraps new keys now.
    fn newest(&self) -> String;

    /// Makes a new data key and wraps it. Stores nothing.
    ///
    /// # Errors
    /// `KeyUnavailable` when the master key is disabled or unknown; `Unavailable`.
    async fn generate(&self, context: &Context) -> Result<(DataKey, WrappedKey)>;

    /// Unwraps a key.
    ///
    /// # Errors
    /// `KeyUnavailable` when the master key is disabled or unknown; `Corrupt` when the wrapped
    /// bytes were changed or made in another context; `Unavailable`.
    async fn unwrap(&self, wrapped: &WrappedKey, context: &Context) -> Result<DataKey>;

    /// Wraps the same key again, under the newest master key. Stores nothing.
    ///
    /// # Errors
    /// As [`KeyProvider::unwrap`].
    async fn rewrap(&self, wrapped: &WrappedKey, context: &Context) -> Result<WrappedKey>;
}

/// Master keys that live here and have versions: those of a keyring. Every change is durable when it
/// returns, and made as a whole or not at all.
pub trait MasterKeys: Send + Sync + fmt::Debug {
    /// The names of all that can unwrap, oldest first.
    fn names(&self) -> Vec<String>;

    /// Adds a version, under which new keys are wrapped from then on; gives its name. Keys that are
    /// wrapped under older ones still open.
    ///
    /// # Errors
    /// `LimitExceeded` when there are too many; `NoSpace`, `Unavailable`.
    fn add(&self) -> Result<String>;

    /// Forgets a version: what it wraps does not open any more. Whether it wraps anything is the
    /// caller's to know.
    ///
    /// # Errors
    /// `NotFound`; `Precondition` for the newest; `NoSpace`, `Unavailable`.
    fn retire(&self, name: &str) -> Result<()>;
}

/// A keyring that lives in memory, and that tests can disable.
#[derive(Debug)]
pub struct MemoryKeyProvider {
    /// With their numbers, the newest last; never none.
    roots: Mutex<Vec<(u32, RootKey)>>,
    entropy: Arc<dyn Entropy>,
    disabled: AtomicBool,
    calls: AtomicU64,
}

impl MemoryKeyProvider {
    /// A provider with a new root key.
    #[must_use]
    pub fn new(entropy: Arc<dyn Entropy>) -> Self {
        let roots = Mutex::new(vec![(1, RootKey::draw(&*entropy))]);
        Self { roots, entropy, disabled: false.into(), calls: 0.into() }
    }

    /// Disables or enables the master key.
    pub fn set_available(&self, available: Available) {
        self.disabled.store(available == Available::No, Ordering::SeqCst);
    }

    /// How many calls were made.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn wrap(&self, key: &DataKey, context: &Context) -> WrappedKey {
        let roots = self.roots.lock();
        let (number, root) = newest(&roots);
        let bytes = keyring::wrap(root, key, context, &*self.entropy);
        WrappedKey { kind: WrapKind::Keyring, key_id: name(*number), bytes }
    }

    fn check(&self) -> Result<()> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.disabled.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::KeyUnavailable, "the master key is disabled"));
        }
        Ok(())
    }
}

/// Whether the master key of a [`MemoryKeyProvider`] can be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Available {
    /// It can.
    Yes,
    /// It is disabled.
    No,
}

fn newest(roots: &[(u32, RootKey)]) -> &(u32, RootKey) {
    roots.last().expect("the newest is never retired")
}

fn name(number: u32) -> String {
    format!("{MEMORY_KEY}{number}")
}

#[async_trait]
impl KeyProvider for MemoryKeyProvider {
    fn newest(&self) -> String {
        name(newest(&self.roots.lock()).0)
    }

    async fn generate(&self, context: &Context) -> Result<(DataKey, WrappedKey)> {
        self.check()?;
        let key = DataKey::draw(&*self.entropy);
        let wrapped = self.wrap(&key, context);
        Ok((key, wrapped))
    }

    async fn unwrap(&self, wrapped: &WrappedKey, context: &Context) -> Result<DataKey> {
        self.check()?;
        let roots = self.roots.lock();
        let wraps = |(number, _): &&(u32, RootKey)| name(*number) == wrapped.key_id;
        let root = roots.iter().find(wraps).filter(|_| wrapped.kind == WrapKind::Keyring);
        let unknown = || Error::new(ErrorKind::KeyUnavailable, "unknown master key");
        Ok(keyring::unwrap(&root.ok_or_else(unknown)?.1, &wrapped.bytes, context)?)
    }

    async fn rewrap(&self, wrapped: &WrappedKey, context: &Context) -> Result<WrappedKey> {
        let key = self.unwrap(wrapped, context).await?;
        Ok(self.wrap(&key, context))
    }
}

impl MasterKeys for MemoryKeyProvider {
    fn names(&self) -> Vec<String> {
        self.roots.lock().iter().map(|(number, _)| name(*number)).collect()
    }

    fn add(&self) -> Result<String> {
        let mut roots = self.roots.lock();
        let number = newest(&roots).0 + 1;
        roots.push((number, RootKey::draw(&*self.entropy)));
        Ok(name(number))
    }

    fn retire(&self, retired: &str) -> Result<()> {
        let mut roots = self.roots.lock();
        match roots.iter().position(|(number, _)| name(*number) == retired) {
            None => Err(Error::new(ErrorKind::NotFound, "master key")),
            Some(at) if at + 1 == roots.len() => {
                Err(Error::new(ErrorKind::Precondition, "the newest master key stays"))
            }
            Some(at) => {
                roots.remove(at);
                Ok(())
            }
        }
    }
}
