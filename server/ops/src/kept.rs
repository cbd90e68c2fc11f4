//! Rows that are kept twice: in the catalog, and sealed in the packs, where a rebuild without a catalog
//! finds them.
//!
//! A copy is a document of its own beside what the rows describe. [`tables::KEPT`] says which copy is the
//! newest, so that a commit that writes the rows again, or removes them, ends the copy before. Objects
//! need none: their manifests say it all.

use readvault_store::{
    catalog::{RowKey, Table, Write},
    vault::{
        FileRef, FileRole, FileSpec, Item, ItemKind, Metadata, Removal, SlotChoice, Store,
        VaultCommit,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    body::stage_fault,
    core::{Core, Stored, encode},
    fault::{Fault, FaultKind, Result},
    tables,
};

/// Where the newest copy is, as its row holds it. Key: the first of the rows that it copies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its item.
    pub item: Item,
    /// Its bytes: a [`Copied`].
    pub file: FileRef,
}

/// What a copy holds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Copied {
    /// The rows.
    pub rows: Vec<CopiedRow>,
    /// Numbers that are taken: family and number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taken: Vec<(String, u64)>,
}

/// A row as a copy holds it.
#[derive(Debug, Serialize, Deserialize)]
pub struct CopiedRow {
    /// Name of its table.
    pub table: String,
    /// Its key, hexadecimal.
    pub key: String,
    /// Its value.
    pub value: Box<RawValue>,
}

/// Whose rows are copied: their store, and the shred slot by whose end the copy ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'a> {
    pub(crate) store: &'a Store,
    pub(crate) slot: SlotChoice,
}

impl<'a> Owner<'a> {
    /// Rows of a store, a bucket or what has no slot of its own.
    pub(crate) fn store(store: &'a Store) -> Self {
        Self { store, slot: SlotChoice::OfStore }
    }

    /// Rows of an item.
    pub(crate) fn item(item: &'a Item) -> Self {
        Self { store: &item.store, slot: SlotChoice::Same(item.slot) }
    }
}

/// Adds to `commit` a copy of the rows `keys`, which it writes; the copy before it ends. `taken` are
/// numbers that these rows use. Durable before the commit is.
///
/// # Errors
/// Those of the vault.
pub(crate) async fn keep(
    core: &Core,
    commit: &mut VaultCommit,
    owner: Owner<'_>,
    (keys, taken): (&[RowKey], &[(&str, &str)]),
) -> Result<()> {
    let copied = Copied { rows: written(commit, keys)?, taken: numbers(taken) };
    let item = core.vault().new_item(owner.store, ItemKind::Document, owner.slot).await?;
    let spec = FileSpec::new(item.clone(), FileRole::Record, Metadata::None);
    let body = futures::stream::iter([Ok(encode(&copied))]);
    let staged = core.vault().stage(spec, body).await.map_err(stage_fault)?;
    let first = keys.first().ok_or_else(|| Fault::internal("a copy of no row"))?;
    let row = kept_row(first);
    let before: Option<Stored<Kept>> = core.load(&row).await?;
    match before {
        Some(before) => {
            commit.commit.unchanged(row.clone(), before.version);
            commit.removes.push(before.value.removal());
        }
        None => {
            commit.commit.absent(row.clone());
        }
    }
    commit.commit.put(row, encode(&Kept { item, file: staged.file().clone() }));
    commit.files.push(staged);
    Ok(())
}

/// Adds to `commit`, which removes `key`, that its copy ends, if it has one.
///
/// # Errors
/// Those of the catalog.
pub(crate) async fn end(core: &Core, commit: &mut VaultCommit, key: &RowKey) -> Result<()> {
    let row = kept_row(key);
    let kept: Option<Stored<Kept>> = core.load(&row).await?;
    if let Some(kept) = kept {
        commit.commit.unchanged(row.clone(), kept.version).delete(row);
        commit.removes.push(kept.value.removal());
    }
    Ok(())
}

/// The row that says where the copy of the row `of` is: name of the table ‖ 00 ‖ key.
#[must_use]
pub fn kept_row(of: &RowKey) -> RowKey {
    let key = [of.table.0.as_bytes(), &[0], &of.key].concat();
    RowKey::new(tables::KEPT, key)
}

/// The row whose copy the key of a row of [`tables::KEPT`] is about; none of a table not known here.
#[must_use]
pub fn row_of(kept: &[u8]) -> Option<RowKey> {
    let end = kept.iter().position(|byte| *byte == 0)?;
    let table = table_named(std::str::from_utf8(&kept[..end]).ok()?)?;
    Some(RowKey::new(table, &kept[end + 1..]))
}

/// The table of this name.
#[must_use]
pub fn table_named(name: &str) -> Option<Table> {
    tables::ALL.iter().find(|table| table.0 == name).copied()
}

impl Kept {
    fn removal(&self) -> Removal {
        Removal { item: self.item.id, files: vec![self.file.clone()] }
    }
}

impl CopiedRow {
    /// The row's key; none when the copy is malformed or of a table not known here.
    #[must_use]
    pub fn row(&self) -> Option<RowKey> {
        Some(RowKey::new(table_named(&self.table)?, hex::decode(&self.key).ok()?))
    }
}

fn numbers(taken: &[(&str, &str)]) -> Vec<(String, u64)> {
    let number = |(family, id): &(&str, &str)| Some(((*family).to_owned(), id.parse().ok()?));
    taken.iter().filter_map(number).collect()
}

/// The rows `keys` as `commit` writes them.
fn written(commit: &VaultCommit, keys: &[RowKey]) -> Result<Vec<CopiedRow>> {
    let value = |key: &RowKey| {
        commit.commit.writes.iter().rev().find_map(|write| match write {
            Write::Put(row, value) if row == key => Some(value),
            Write::Put(..) | Write::Delete(_) => None,
        })
    };
    keys.iter()
        .map(|key| {
            let bytes = value(key).ok_or_else(|| Fault::internal("a copy of a row not written"))?;
            let value = serde_json::from_slice(bytes).map_err(|cause| {
                Fault::new(FaultKind::Internal, "a row is malformed").because(cause)
            })?;
            Ok(CopiedRow { table: key.table.0.into(), key: hex::encode(&key.key), value })
        })
        .collect()
}
