//! One client of a vault: its store, its files, and its attempts, each told to the oracle.

use bytes::Bytes;
use futures::stream;
use readvault_store::{
    ErrorKind, Result,
    catalog::RowKey,
    vault::{
        BodyError, Committed, DomainChoice, FileRef, FileRole, FileSpec, Item, ItemKind, Metadata,
        Removal, SlotChoice, StageError, Staged, Store, Vault, VaultCommit,
    },
};
use serde::{Deserialize, Serialize};

use crate::{
    home::{OBJECTS, OpenVault},
    oracle::{Change, ERASED, Oracle, Ticks},
};

/// The account of every store.
const ACCOUNT: &str = "123456789012";

/// What a row of [`OBJECTS`] holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stored {
    /// The item.
    pub item: Item,
    /// Its file.
    pub file: FileRef,
    /// Whether it can be erased: its shred slot covers nothing else. Rows of older fixtures do not say so.
    #[serde(default)]
    pub has_own_slot: bool,
}

impl Stored {
    /// The bytes of the file as `vault` has them; [`ERASED`] when it may have been erased and its key is gone.
    ///
    /// # Errors
    /// Those of the vault.
    pub async fn read(&self, vault: &Vault) -> Result<Bytes> {
        match vault.read_file(&self.file).await {
            Err(cause) if self.has_own_slot && cause.kind() == ErrorKind::KeyUnavailable => {
                Ok(ERASED)
            }
            read => read,
        }
    }
}

/// Whom a lane tells.
#[derive(Debug, Default)]
pub struct Witness {
    /// What was asked and acknowledged.
    pub oracle: Oracle,
    /// When.
    pub ticks: Ticks,
}

impl Witness {
    /// One that knows the same and goes on elsewhere.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { oracle: self.oracle.fork(), ticks: self.ticks.fork() }
    }

    /// What it knew at tick `end`, to go on with elsewhere.
    #[must_use]
    pub fn until(&self, end: u64) -> Self {
        Self { oracle: self.oracle.until(end), ticks: self.ticks.fork() }
    }
}

/// Who a lane is: outlives any opening of the vault.
#[derive(Clone, Debug)]
pub struct Client {
    /// How its files' names begin.
    pub name: String,
    /// Where they are kept.
    pub store: Store,
}

/// One client at an open vault, which does one thing after the other.
#[derive(Clone, Debug)]
pub struct Lane<'a> {
    client: Client,
    vault: &'a Vault,
    witness: &'a Witness,
}

impl Client {
    /// A client with a new store.
    ///
    /// # Errors
    /// Those of the vault.
    pub async fn new(name: &str, open: &OpenVault) -> Result<Self> {
        let store = open.vault.create_store(ACCOUNT, DomainChoice::Own).await?;
        Ok(Self { name: name.to_owned(), store })
    }

    /// This client at `open`.
    #[must_use]
    pub fn at<'a>(&self, open: &'a OpenVault, witness: &'a Witness) -> Lane<'a> {
        Lane { client: self.clone(), vault: &open.vault, witness }
    }

    /// A client of another name with the same store.
    #[must_use]
    pub fn beside(&self, name: impl Into<String>) -> Self {
        Self { name: name.into(), store: self.store.clone() }
    }
}

impl Lane<'_> {
    /// Puts a file of these bytes in place of what has the name.
    ///
    /// # Errors
    /// Those of the vault.
    pub async fn put(&self, name: &str, bytes: Bytes, slot: SlotChoice) -> Result<()> {
        let name = self.full(name);
        let item = self.vault.new_item(&self.client.store, ItemKind::Object, slot).await?;
        let staged = self.stage(&item, FileRole::Object, &bytes).await?;
        let mut commit = VaultCommit::default();
        self.end(&mut commit, &name).await?;
        publish(&mut commit, &name, (item, slot == SlotChoice::Own), staged);
        self.attempt(commit, vec![(name, Some(bytes))]).await
    }

    /// Erases the file of this name, if it has a shred slot of its own: destroys that, then deletes the file.
    ///
    /// # Errors
    /// Those of the vault.
    pub async fn erase(&self, name: &str) -> Result<()> {
        let full = self.full(name);
        let Some((stored, _)) = self.row(&full).await? else { return Ok(()) };
        if !stored.has_own_slot {
            return Ok(());
        }
        let Witness { oracle, ticks } = self.witness;
        let started = oracle.start(&self.client.name, vec![(full, Some(ERASED))], ticks);
        self.vault.erase(stored.item.slot, &[stored.file.manifest]).await?;
        oracle.acknowledge(&started, ticks);
        self.delete(name).await
    }

    /// Deletes the file of this name, if there is one.
    ///
    /// # Errors
    /// Those of the vault.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let name = self.full(name);
        let mut commit = VaultCommit::default();
        if self.end(&mut commit, &name).await?.is_none() {
            return Ok(());
        }
        commit.commit.delete(RowKey::new(OBJECTS, name.clone()));
        self.attempt(commit, vec![(name, None)]).await
    }

    /// Puts `bytes` as parts of an upload, each visible on its own, then makes one file of them.
    ///
    /// # Errors
    /// Those of the vault.
    pub async fn upload(&self, name: &str, parts: &[Bytes]) -> Result<()> {
        let (vault, store) = (self.vault, &self.client.store);
        let upload = vault.new_item(store, ItemKind::Upload, SlotChoice::Own).await?;
        let part_name = |number: usize| self.full(&format!("{name}.part{number}"));
        let mut files = Vec::new();
        for (number, bytes) in parts.iter().enumerate() {
            let staged = self.stage(&upload, FileRole::Part, bytes).await?;
            files.push(staged.file().clone());
            let mut commit = VaultCommit::default();
            publish(&mut commit, &part_name(number), (upload.clone(), false), staged);
            self.attempt(commit, vec![(part_name(number), Some(bytes.clone()))]).await?;
        }
        let item = vault.new_item(store, ItemKind::Object, SlotChoice::Same(upload.slot)).await?;
        let staged = vault.assemble(spec(&item, FileRole::Object), &files).await?;
        let name = self.full(name);
        let mut commit = VaultCommit::default();
        self.end(&mut commit, &name).await?;
        publish(&mut commit, &name, (item, true), staged);
        let mut change = vec![(name, Some(parts.concat().into()))];
        for number in 0..parts.len() {
            commit.commit.delete(RowKey::new(OBJECTS, part_name(number)));
            change.push((part_name(number), None));
        }
        commit.removes.push(Removal { item: upload.id, files });
        self.attempt(commit, change).await
    }

    /// Puts a copy of the file `source`, if there is one, moving no bytes.
    ///
    /// # Errors
    /// Those of the vault.
    pub async fn copy(&self, source: &str, target: &str) -> Result<()> {
        let (source, target) = (self.full(source), self.full(target));
        let Some((stored, _)) = self.row(&source).await? else { return Ok(()) };
        let bytes = stored.read(self.vault).await?;
        if bytes == ERASED {
            return Ok(());
        }
        let item =
            self.vault.new_item(&self.client.store, ItemKind::Object, SlotChoice::OfStore).await?;
        let staged = self.vault.adopt(spec(&item, FileRole::Object), &stored.file).await?;
        let staged = staged.expect("a store adopts from itself");
        let mut commit = VaultCommit::default();
        self.end(&mut commit, &target).await?;
        publish(&mut commit, &target, (item, false), staged);
        self.attempt(commit, vec![(target, Some(bytes))]).await
    }

    /// What the row of `name` holds, and its version.
    async fn row(&self, name: &str) -> Result<Option<(Stored, u64)>> {
        let rows = self.vault.catalog().read(&[RowKey::new(OBJECTS, name.to_owned())]).await?;
        let row = rows.into_iter().next().flatten();
        Ok(row.map(|row| (serde_json::from_slice(&row.value).expect("a row of ours"), row.version)))
    }

    /// Adds to `commit` that what has the name ends, if it is still as it is now.
    async fn end(&self, commit: &mut VaultCommit, name: &str) -> Result<Option<Item>> {
        let Some((stored, version)) = self.row(name).await? else { return Ok(None) };
        commit.commit.unchanged(RowKey::new(OBJECTS, name.to_owned()), version);
        commit.removes.push(Removal { item: stored.item.id, files: vec![stored.file] });
        Ok(Some(stored.item))
    }

    async fn stage(&self, item: &Item, role: FileRole, bytes: &Bytes) -> Result<Staged> {
        let pieces: Vec<Result<Bytes, BodyError>> =
            bytes.chunks(100_000).map(|piece| Ok(bytes.slice_ref(piece))).collect();
        match self.vault.stage(spec(item, role), stream::iter(pieces)).await {
            Ok(staged) => Ok(staged),
            Err(StageError::Store(error)) => Err(error),
            Err(StageError::Body(_)) => unreachable!("this body never fails"),
        }
    }

    async fn attempt(&self, commit: VaultCommit, change: Change) -> Result<()> {
        let Witness { oracle, ticks } = self.witness;
        let started = oracle.start(&self.client.name, change, ticks);
        match self.vault.commit(commit).await? {
            Committed::Applied { .. } => {
                oracle.acknowledge(&started, ticks);
                Ok(())
            }
            Committed::Conflict(_) => unreachable!("a lane has its names for itself"),
        }
    }

    fn full(&self, name: &str) -> String {
        format!("{}/{name}", self.client.name)
    }
}

fn spec(item: &Item, role: FileRole) -> FileSpec {
    FileSpec::new(item.clone(), role, Metadata::Known(Bytes::from_static(b"campaign")))
}

/// Adds to `commit` that `staged` has the name; whether a shred slot covers its item alone.
fn publish(
    commit: &mut VaultCommit,
    name: &str,
    (item, has_own_slot): (Item, bool),
    staged: Staged,
) {
    let stored = Stored { item, file: staged.file().clone(), has_own_slot };
    let row = serde_json::to_vec(&stored).expect("plain data");
    commit.commit.put(RowKey::new(OBJECTS, name.to_owned()), row);
    commit.files.push(staged);
}
