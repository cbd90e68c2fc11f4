//! Making a backup of a vault that is in use.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use readvault_store::{checkpoints::Checkpoint, chunk_store::PackInfo};

use super::{
    KEY_FILES, KEY_LOG, KEYS_NOTE, LIST, RECEIPTS, files,
    list::{KeysNote, List, Listed},
};

/// Where the two halves of a backup go.
#[derive(Clone, Debug)]
pub struct Places {
    /// The data directory.
    pub data: PathBuf,
    /// Packs, checkpoint and key log.
    pub to: PathBuf,
    /// Keyring, shred slots and receipts.
    pub keys_to: PathBuf,
}

/// What is copied: as the vault stood when the backup began, or a little later.
#[derive(Clone, Debug)]
pub struct Content {
    /// The vault, hexadecimal.
    pub vault: String,
    /// Milliseconds since 1970 at which it was begun.
    pub begun_ms: u64,
    /// A checkpoint that was written for it.
    pub checkpoint: Checkpoint,
    /// The packs, asked for after the checkpoint; none of them may go meanwhile.
    pub packs: Vec<PackInfo>,
}

/// What a backup did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files that were copied.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Packs that were there already.
    pub skipped: u64,
    /// Files that an earlier backup left and this one does not need.
    pub removed: u64,
}

/// Copies `content` to `places`; `told` hears how many packs of how many are done. When it returns, the list is
/// durable and names files that are; cut short, the backup before stays whole but for packs that the vault
/// has dropped.
///
/// # Errors
/// When the two places are one, a place holds the backup of another vault, or the file system fails.
pub fn backup(places: &Places, content: &Content, told: &dyn Fn(u64, u64)) -> Result<Copied> {
    let Places { data, to, keys_to } = places;
    for place in [to, keys_to] {
        files::make_directory(place)
            .with_context(|| format!("{} can't be made", place.display()))?;
    }
    apart(to, keys_to)?;
    let before = earlier(to, &content.vault)?;
    let mut list = List::new(content.vault.clone(), content.begun_ms);
    let mut copied = Copied::default();
    copy_packs(places, content, (before.as_ref(), &mut list), (&mut copied, told))?;
    copy_checkpoint(&content.checkpoint, to, (&mut list, &mut copied))?;
    let sum = files::copy(&data.join(KEY_LOG), &to.join(KEY_LOG), u64::MAX)
        .context("the key log can't be copied")?;
    note(&mut list, &mut copied, KEY_LOG.to_owned(), sum);
    files::sync_directory(to).context("the destination can't be synced")?;
    // Slots are filled ahead, so a later copy covers all that is in the packs; the newest is the right one.
    copy_keys(data, keys_to, &content.vault, content.begun_ms)?;
    let bytes = serde_json::to_vec_pretty(&list).context("the list can't be written")?;
    files::replace(&to.join(LIST), &bytes).context("the list can't be written")?;
    copied.removed = prune(to, &list).context("what is left of an earlier backup stays")?;
    Ok(copied)
}

/// Keys and data in one place would be a copy that opens itself.
fn apart(to: &Path, keys_to: &Path) -> Result<()> {
    let (to, keys_to) = (fs::canonicalize(to)?, fs::canonicalize(keys_to)?);
    if to.starts_with(&keys_to) || keys_to.starts_with(&to) {
        bail!("--keys-to must be a place of its own, apart from --to");
    }
    Ok(())
}

fn earlier(to: &Path, vault: &str) -> Result<Option<List>> {
    if !to.join(LIST).exists() {
        return Ok(None);
    }
    let list = List::read(to)?;
    if list.vault != vault {
        bail!("{} holds the backup of another vault", to.display());
    }
    Ok(Some(list))
}

fn copy_packs(
    places: &Places,
    content: &Content,
    (before, list): (Option<&List>, &mut List),
    (copied, told): (&mut Copied, &dyn Fn(u64, u64)),
) -> Result<()> {
    files::make_directory(&places.to.join("packs"))?;
    let all = content.packs.len() as u64;
    for (done, pack) in (1..).zip(&content.packs) {
        let name = format!("packs/{}.pack", pack.pack);
        let known = before.and_then(|before| before.files.get(&name));
        match known.filter(|known| is_there(&places.to.join(&name), known, pack.bytes)) {
            Some(known) => {
                list.files.insert(name, known.clone());
                copied.skipped += 1;
            }
            None => {
                let (source, target) = (places.data.join(&name), places.to.join(&name));
                let sum = files::copy(&source, &target, pack.bytes)
                    .with_context(|| format!("{name} can't be copied"))?;
                note(list, copied, name, sum);
            }
        }
        told(done, all);
    }
    files::sync_directory(&places.to.join("packs")).context("the destination can't be synced")
}

/// Packs are only ever appended to, so one of the same length is the same.
fn is_there(path: &Path, known: &Listed, length: u64) -> bool {
    known.length == length && fs::metadata(path).is_ok_and(|found| found.len() == length)
}

fn copy_checkpoint(
    checkpoint: &Checkpoint,
    to: &Path,
    (list, copied): (&mut List, &mut Copied),
) -> Result<()> {
    let name = checkpoint.path.file_name().and_then(|name| name.to_str());
    let name = name.context("a checkpoint has no name")?;
    let below = format!("checkpoints/{name}");
    files::make_directory(&to.join(&below))?;
    for entry in fs::read_dir(&checkpoint.path).context("the checkpoint can't be read")? {
        let entry = entry?;
        let file = format!("{below}/{}", entry.file_name().to_string_lossy());
        let sum = files::copy(&entry.path(), &to.join(&file), u64::MAX)
            .with_context(|| format!("{file} can't be copied"))?;
        note(list, copied, file, sum);
    }
    list.checkpoint = name.to_owned();
    list.catalog_version = checkpoint.version;
    files::sync_directory(&to.join(&below))?;
    files::sync_directory(&to.join("checkpoints")).context("the destination can't be synced")
}

fn copy_keys(data: &Path, keys_to: &Path, vault: &str, now_ms: u64) -> Result<()> {
    for name in KEY_FILES {
        files::copy(&data.join(name), &keys_to.join(name), u64::MAX)
            .with_context(|| format!("{name} can't be copied"))?;
    }
    let receipts = data.join(RECEIPTS);
    if receipts.is_dir() {
        copy_tree(&receipts, &keys_to.join(RECEIPTS)).context("receipts can't be copied")?;
    }
    let note = KeysNote { vault: vault.to_owned(), copied_ms: now_ms };
    let bytes = serde_json::to_vec_pretty(&note).context("the note can't be written")?;
    files::replace(&keys_to.join(KEYS_NOTE), &bytes).context("the note can't be written")
}

/// Copies every file below `source`, in place of those of the same name.
pub(crate) fn copy_tree(source: &Path, target: &Path) -> io::Result<()> {
    files::make_directory(target)?;
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        let name = target.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &name)?;
        } else {
            files::copy(&entry.path(), &name, u64::MAX)?;
        }
    }
    files::sync_directory(target)
}

fn note(list: &mut List, copied: &mut Copied, name: String, sum: files::Sum) {
    copied.files += 1;
    copied.bytes += sum.length;
    list.add(name, sum);
}

/// Removes packs and checkpoints that the list does not name.
fn prune(to: &Path, list: &List) -> io::Result<u64> {
    let mut removed = 0;
    for entry in fs::read_dir(to.join("packs"))? {
        let entry = entry?;
        if !list.files.contains_key(&format!("packs/{}", entry.file_name().to_string_lossy())) {
            fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    for entry in fs::read_dir(to.join("checkpoints"))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy() != list.checkpoint {
            fs::remove_dir_all(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// The names of all files that `list` holds, with the directories that they need.
pub(crate) fn directories(list: &List) -> BTreeSet<PathBuf> {
    list.files.keys().filter_map(|name| Path::new(name).parent().map(Path::to_owned)).collect()
}
