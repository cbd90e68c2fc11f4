//! A data directory that an earlier build wrote must open in this one, with every byte.
//!
//! The directories lie in `tests/fixtures`, one for each format, with the digests of what they hold. A change
//! of bytes at rest writes a new one (`cargo test --workspace --test fixtures -- --ignored write_fixture`)
//! and, once a format was released, keeps the old ones.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use readvault_campaigns::{
    choice::noise,
    home::{Home, OBJECTS, OpenVault},
    lane::{Client, Stored, Witness},
    parallel::runtime,
    place,
};
use readvault_store::{
    catalog::{Fold, ScanRange},
    vault::SlotChoice,
};
use sha2::{Digest, Sha256};

/// The format that this build writes.
const PRESENT: &str = "format-1";

/// What no opening needs: RocksDB's own notes, its lock, and the second copy of the slots, which is as large
/// as the first and of random bytes.
const LEFT_OUT: [&str; 3] = ["catalog/LOG", "catalog/LOCK", "shred.slots.copy"];

/// Name of a file → its length and the SHA-256 of its bytes.
type Expected = BTreeMap<String, (u64, String)>;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("fixtures")
}

async fn shown(open: &OpenVault) -> Expected {
    let all = ScanRange::prefix(OBJECTS, "");
    let page = open.vault.catalog().scan(&all, &Fold::default(), 1000).await.unwrap();
    let mut shown = Expected::new();
    for row in page.rows() {
        let stored: Stored = serde_json::from_slice(&row.value).unwrap();
        let bytes = open.vault.read_file(&stored.file).await.unwrap();
        let digest = hex::encode(Sha256::digest(&bytes));
        shown.insert(String::from_utf8(row.key).unwrap(), (bytes.len() as u64, digest));
    }
    shown
}

#[test]
fn every_format_that_was_written_opens_with_every_byte() {
    let mut formats = 0;
    for entry in fs::read_dir(fixtures()).unwrap() {
        let fixture = entry.unwrap().path();
        let text = fs::read_to_string(fixture.join("expected.json")).unwrap();
        let expected: Expected = serde_json::from_str(&text).unwrap();
        let home = place::directory().unwrap();
        place::copy(&fixture.join("data"), home.path()).unwrap();
        let found = runtime().block_on(async {
            let open = Home::new(home.path()).open().await.unwrap();
            let found = shown(&open).await;
            open.close().await.unwrap();
            found
        });
        assert_eq!(found, expected, "{}", fixture.display());
        assert!(expected.len() >= 6, "a fixture holds every kind of file");
        formats += 1;
    }
    assert!(formats >= 1);
}

#[test]
#[ignore = "writes the fixture of the present format anew"]
fn write_fixture() {
    let home = place::directory().unwrap();
    let target = fixtures().join(PRESENT);
    let _ = fs::remove_dir_all(&target);
    let expected = runtime().block_on(write(home.path(), &target.join("data")));
    for name in LEFT_OUT {
        let _ = fs::remove_file(target.join("data").join(name));
    }
    let text = serde_json::to_string_pretty(&expected).unwrap();
    fs::write(target.join("expected.json"), text + "\n").unwrap();
}

/// A closed start and one that was left: packs closed and open, table files and a log.
async fn write(home: &Path, target: &Path) -> Expected {
    let (home, witness) = (Home::new(home), Witness::default());
    let open = home.open().await.unwrap();
    let client = Client::new("a", &open).await.unwrap();
    let lane = client.at(&open, &witness);
    for (name, length) in [("empty", 0), ("small", 100), ("chunk", 66_000), ("old", 10)] {
        lane.put(name, noise(length as u64, length), SlotChoice::OfStore).await.unwrap();
    }
    lane.put("own slot", noise(1, 1000), SlotChoice::Own).await.unwrap();
    lane.put("deleted", noise(2, 1000), SlotChoice::OfStore).await.unwrap();
    // A start that needs a slot fills some thousands: the second needs none, so the fixture stays small.
    lane.upload("parts", &[noise(3, 5000), Bytes::new(), noise(4, 9)]).await.unwrap();
    open.close().await.unwrap();
    let open = home.open().await.unwrap();
    let lane = client.at(&open, &witness);
    lane.copy("chunk", "copy").await.unwrap();
    lane.put("old", noise(5, 20), SlotChoice::OfStore).await.unwrap();
    lane.delete("deleted").await.unwrap();
    place::copy(&home.directory, target).unwrap();
    let expected = shown(&open).await;
    open.close().await.unwrap();
    expected
}
