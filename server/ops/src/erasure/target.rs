//! What can be erased by itself: what has a shred slot of its own.

use readvault_store::{
    catalog::Commit,
    ids::ItemId,
    vault::{FileRef, Item, Removal, VaultCommit},
};

use crate::{
    Fault, FaultKind,
    core::{Core, DECISIONS_MAX, contended},
    fault::Result,
    kept, read_set, reference,
    reference::{ReferenceStatus, delete::mark},
};

/// A read set or a reference, by the numbers of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A read set.
    ReadSet {
        /// Its sequence store.
        store: String,
        /// Its number.
        id: String,
    },
    /// A reference.
    Reference {
        /// Its reference store.
        store: String,
        /// Its number.
        id: String,
    },
}

/// A target as its row has it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) target: Target,
    pub(super) item: Item,
    /// Its ARN.
    pub(super) arn: String,
    pub(super) files: Vec<FileRef>,
}

impl Target {
    /// How receipts name it.
    #[must_use]
    pub fn resource(&self) -> String {
        match self {
            Self::ReadSet { store, id } => format!("sequenceStore/{store}/readSet/{id}"),
            Self::Reference { store, id } => format!("referenceStore/{store}/reference/{id}"),
        }
    }

    /// What [`Target::resource`] named.
    ///
    /// # Errors
    /// `InvalidArgument` for any other text.
    pub fn parse(resource: &str) -> Result<Self> {
        let names: Vec<_> = resource.split('/').collect();
        match names[..] {
            ["sequenceStore", store, "readSet", id] => {
                Ok(Self::ReadSet { store: store.into(), id: id.into() })
            }
            ["referenceStore", store, "reference", id] => {
                Ok(Self::Reference { store: store.into(), id: id.into() })
            }
            _ => Err(Fault::invalid("neither a read set nor a reference")),
        }
    }

    pub(super) async fn find(&self, core: &Core) -> Result<Found> {
        let target = self.clone();
        Ok(match self {
            Self::ReadSet { store, id } => {
                let found = read_set::load(core, store, id).await?.value;
                let files = found.files.all().map(|file| file.file.clone()).collect();
                Found { target, arn: found.arn(core.site()), item: found.item, files }
            }
            Self::Reference { store, id } => {
                let found = reference::load(core, store, id).await?.value;
                let mut files = vec![found.source.file.clone(), found.sequences.clone()];
                files.extend(found.index.as_ref().map(|index| index.file.clone()));
                Found { target, arn: found.arn(core.site()), item: found.item, files }
            }
        })
    }

    /// Lets nothing new refer to a reference that is about to be erased.
    pub(super) async fn close(&self, core: &Core, item: ItemId) -> Result<()> {
        let Self::Reference { store, id } = self else { return Ok(()) };
        for _ in 0..DECISIONS_MAX {
            let stored = match reference::load(core, store, id).await {
                Ok(stored) if stored.value.item.id == item => stored,
                Err(fault) if fault.kind != FaultKind::NotFound => return Err(fault),
                _ => return Ok(()),
            };
            if mark(core, &stored, ReferenceStatus::Deleting).await? {
                return Ok(());
            }
        }
        Err(contended())
    }

    /// Removes its rows and buries its files; does nothing when `item` is there no more.
    pub(super) async fn remove(&self, core: &Core, item: ItemId) -> Result<()> {
        for _ in 0..DECISIONS_MAX {
            let found = match self.find(core).await {
                Ok(found) if found.item.id == item => found,
                Err(fault) if fault.kind != FaultKind::NotFound => return Err(fault),
                _ => return Ok(()),
            };
            let mut commit = Commit::new();
            let row = match self {
                Self::ReadSet { store, id } => {
                    let stored = read_set::load(core, store, id).await?;
                    let row = read_set::row(store, id);
                    commit.unchanged(row.clone(), stored.version);
                    read_set::index::remove(&mut commit, &stored.value);
                    row
                }
                Self::Reference { store, id } => {
                    let (stored, row) =
                        (reference::load(core, store, id).await?, reference::row(store, id));
                    commit.unchanged(row.clone(), stored.version).delete(row.clone());
                    row
                }
            };
            let removes = vec![Removal { item, files: found.files }];
            let mut commit = VaultCommit { commit, files: Vec::new(), removes };
            kept::end(core, &mut commit, &row).await?;
            if core.commit(commit).await? {
                return Ok(());
            }
        }
        Err(contended())
    }
}
