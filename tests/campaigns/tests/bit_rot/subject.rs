//! The vault that is damaged: every class of file, in two states.

use std::{
    collections::BTreeMap,
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use readvault_campaigns::{
    choice::noise,
    home::{Home, OpenVault},
    lane::{Client, Lane, Witness},
    parallel::runtime,
    place::copy,
};
use readvault_store::vault::{FileRole, FileSpec, ItemKind, Metadata, SlotChoice};

/// What kind of file one is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Class {
    Pack,
    Table,
    Log,
    Manifest,
    Current,
    Options,
    Identity,
    Keyring,
    KeyLog,
    ShredSlots,
}

/// One file of the subject.
pub(crate) struct Target {
    pub(crate) path: PathBuf,
    pub(crate) class: Class,
    pub(crate) length: usize,
    /// Where its records lie, for files that have some.
    pub(crate) records: Vec<Range<usize>>,
}

/// A vault as a crash left it, what it acknowledged, and an earlier state of the same directory.
pub(crate) struct Subject {
    pub(crate) base: PathBuf,
    pub(crate) older: PathBuf,
    pub(crate) targets: Vec<Target>,
    /// All files that must be there.
    pub(crate) expected: BTreeMap<String, Bytes>,
}

impl Subject {
    /// Builds the vault below `place`.
    pub(crate) fn build(place: &Path) -> Self {
        runtime().block_on(build(place))
    }

    /// Another file of the same class with other bytes.
    pub(crate) fn others(&self, target: &Target) -> Vec<&Target> {
        let same = |other: &&Target| other.class == target.class && other.path != target.path;
        self.targets.iter().filter(same).collect()
    }
}

async fn build(place: &Path) -> Subject {
    let (live, base, older) = (place.join("live"), place.join("base"), place.join("older"));
    fs::create_dir(&live).unwrap();
    let (home, witness) = (Home::new(&live), Witness::default());
    let mut expected = BTreeMap::new();
    let open = home.open().await.unwrap();
    let client = Client::new("a", &open).await.unwrap();
    first(&client.at(&open, &witness), &mut expected).await;
    open.close().await.unwrap();
    copy(&live, &older).unwrap();
    let open = home.open().await.unwrap();
    second(&client.at(&open, &witness), &mut expected).await;
    open.close().await.unwrap();
    let open = home.open().await.unwrap();
    let other = Client::new("b", &open).await.unwrap();
    third(&client.at(&open, &witness), &other.at(&open, &witness), &mut expected).await;
    // A batch behind the last commit tells what was acknowledged; without one, the loss of the very last
    // commit can't be told from a loss of power.
    give_up(&open, &other).await;
    copy(&live, &base).unwrap();
    let targets = targets(&base, &open).await;
    open.close().await.unwrap();
    Subject { base, older, targets, expected }
}

type Expected = BTreeMap<String, Bytes>;

async fn put(lane: &Lane<'_>, name: (&str, &str), bytes: Bytes, expected: &mut Expected) {
    lane.put(name.1, bytes.clone(), SlotChoice::OfStore).await.unwrap();
    expected.insert(format!("{}/{}", name.0, name.1), bytes);
}

async fn first(lane: &Lane<'_>, expected: &mut Expected) {
    for (number, length) in [0, 1, 900, 65_536, 65_537, 150_000].into_iter().enumerate() {
        put(lane, ("a", &format!("file{number}")), noise(number as u64, length), expected).await;
    }
    lane.put("erasable", noise(20, 3000), SlotChoice::Own).await.unwrap();
    expected.insert("a/erasable".into(), noise(20, 3000));
    put(lane, ("a", "deleted"), noise(21, 500), expected).await;
}

async fn second(lane: &Lane<'_>, expected: &mut Expected) {
    let parts = [noise(30, 70_000), noise(31, 5)];
    lane.upload("parts", &parts).await.unwrap();
    expected.insert("a/parts".into(), parts.concat().into());
    put(lane, ("a", "file2"), noise(32, 1200), expected).await;
    lane.copy("file5", "copy").await.unwrap();
    expected.insert("a/copy".into(), expected["a/file5"].clone());
    lane.delete("deleted").await.unwrap();
    expected.remove("a/deleted");
}

async fn third(lane: &Lane<'_>, other: &Lane<'_>, expected: &mut Expected) {
    for number in 0..6 {
        let bytes = noise(40 + number, 40_000 + 20_000 * number as usize);
        put(other, ("b", &format!("late{number}")), bytes, expected).await;
    }
    put(lane, ("a", "file1"), noise(50, 2), expected).await;
    lane.delete("copy").await.unwrap();
    expected.remove("a/copy");
}

/// Stages a file that nobody commits.
async fn give_up(open: &OpenVault, client: &Client) {
    let item = open.vault.new_item(&client.store, ItemKind::Object, SlotChoice::OfStore).await;
    let spec = FileSpec::new(item.unwrap(), FileRole::Object, Metadata::None);
    drop(open.vault.stage(spec, futures::stream::iter([Ok(noise(60, 80_000))])).await.unwrap());
}

async fn targets(base: &Path, open: &OpenVault) -> Vec<Target> {
    let mut records = BTreeMap::new();
    for pack in open.chunks.packs().unwrap() {
        let contents = open.chunks.contents(pack).await.unwrap();
        let of_pack = contents.batches.iter().flat_map(|batch| &batch.index.records);
        let of_pack: Vec<_> = of_pack
            .map(|record| record.offset as usize..record.offset as usize + record.length as usize)
            .collect();
        records.insert(format!("{pack}.pack"), of_pack);
    }
    let mut targets = Vec::new();
    for path in files(base) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(class) = class(&name) else { continue };
        let bytes = fs::read(&path).unwrap();
        let records = match class {
            Class::Pack => records.remove(&name).unwrap(),
            Class::KeyLog => frames(&bytes),
            Class::ShredSlots => (0..bytes.len() / 64).map(|n| n * 64..n * 64 + 64).collect(),
            _ => Vec::new(),
        };
        let path = path.strip_prefix(base).unwrap().to_owned();
        targets.push(Target { path, class, length: bytes.len(), records });
    }
    targets
}

fn class(name: &str) -> Option<Class> {
    Some(match name {
        "CURRENT" => Class::Current,
        "IDENTITY" => Class::Identity,
        "keyring" => Class::Keyring,
        "keys.log" | "keys.log.copy" => Class::KeyLog,
        "shred.slots" | "shred.slots.copy" => Class::ShredSlots,
        _ if name.ends_with(".pack") => Class::Pack,
        _ if name.ends_with(".sst") => Class::Table,
        _ if name.ends_with(".log") => Class::Log,
        _ if name.starts_with("MANIFEST-") => Class::Manifest,
        _ if name.starts_with("OPTIONS-") => Class::Options,
        _ => return None,
    })
}

/// The entries of a key log: behind its header, each of u32 length, bytes and checksum.
fn frames(log: &[u8]) -> Vec<Range<usize>> {
    let (mut at, mut frames) = (25, Vec::new());
    while let Some(length) = log.get(at..at + 4) {
        let end = at + 8 + u32::from_le_bytes(length.try_into().unwrap()) as usize;
        frames.push(at..end);
        at = end;
    }
    frames
}

/// Every file below `directory`.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}
