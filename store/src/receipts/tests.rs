use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
};

use readvault_ambient::System;

use super::*;
use crate::{
    disk::observed::{ObservedDisk, Observer, Operation, Verdict},
    ids::{ItemId, ManifestId, StoreId},
    seal::SecretKey,
};

const VAULT: VaultId = VaultId([9; 16]);

fn receipt(item: u8) -> Receipt {
    Receipt {
        by: "uid 0".into(),
        excludes: vec!["names in \"backups\"".into()],
        file_bytes: 1 << 40,
        format: 1,
        item: ItemId([item; 16]),
        kind: "read set".into(),
        manifests: vec![ManifestId([1; 16])],
        number: 0,
        reason: "consent withdrawn – IRB-311".into(),
        resource: "sequenceStore/1/readSet/2".into(),
        shared: Shared {
            items: vec![SharingItem {
                item: ItemId([3; 16]),
                kind: "object".into(),
                store: StoreId([4; 16]),
            }],
            ..Shared::default()
        },
        slot: 17,
        store: StoreId([5; 16]),
        time_begun: "2026-01-01T00:00:00.000Z".into(),
        time_done: String::new(),
        vault: VAULT,
    }
}

fn key(byte: u8) -> Arc<VaultKey> {
    Arc::new(VaultKey::from_bytes(&[byte; 32]))
}

fn open_in(directory: &Path) -> Receipts {
    Receipts::open(directory, VAULT, key(1), Arc::new(System)).unwrap()
}

#[test]
fn receipts_are_numbered_kept_and_signed() {
    let directory = tempfile::tempdir().unwrap();
    let receipts = open_in(directory.path());
    assert_eq!(
        (receipts.intend(&receipt(1)).unwrap(), receipts.intend(&receipt(2)).unwrap()),
        (1, 2)
    );
    let done = Receipt { number: 1, time_done: "2026-01-01T00:00:01.000Z".into(), ..receipt(1) };
    let signed = receipts.finish(&done).unwrap();
    assert!(verify(&signed, &receipts.public_key()));
    drop(receipts);

    let receipts = open_in(directory.path());
    let all = receipts.all().unwrap();
    let states: Vec<_> = all.iter().map(|entry| (entry.number, entry.state)).collect();
    assert_eq!(states, [(1, State::Done), (2, State::Intended)]);
    assert_eq!(receipts.signed(&all[0]), signed);
    assert_eq!(all[0].receipt, done);
    assert_eq!(receipts.intend(&receipt(3)).unwrap(), 3);
}

#[test]
fn a_receipt_that_was_changed_or_is_anothers_does_not_verify() {
    let directory = tempfile::tempdir().unwrap();
    let receipts = open_in(directory.path());
    receipts.intend(&receipt(1)).unwrap();
    let signed = receipts.finish(&Receipt { number: 1, ..receipt(1) }).unwrap();
    let public = receipts.public_key();
    let mut changed = signed.clone();
    changed.receipt.reason.push('.');
    assert!(!verify(&changed, &public));
    let mut changed = signed.clone();
    changed.signature.replace_range(..2, "zz");
    assert!(!verify(&changed, &public));
    let other = Receipts::open(directory.path(), VAULT, key(2), Arc::new(System));
    assert_eq!(other.unwrap_err().kind(), ErrorKind::Corrupt, "another vault's key");
    let text = serde_json::to_string(&signed).unwrap();
    let more = text.replacen("\"by\"", "\"also\":1,\"by\"", 1);
    serde_json::from_str::<Signed>(&more).unwrap_err();
}

#[test]
fn one_damaged_or_absent_file_is_made_again_and_two_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let receipts = open_in(directory.path());
    receipts.intend(&receipt(1)).unwrap();
    let intent = fs::read(directory.path().join("00000001")).unwrap();
    receipts.finish(&Receipt { number: 1, ..receipt(1) }).unwrap();
    let [path, copy] = paths_of(directory.path(), 1);
    let done = fs::read(&path).unwrap();
    // A kill between file and copy; a cut; every flip; an absent file.
    let mut damaged: Vec<_> = (0..done.len()).map(|at| flipped(&done, at)).collect();
    damaged.extend([intent, done[..done.len() - 1].to_vec(), Vec::new()]);
    for bytes in damaged {
        for path in [&path, &copy] {
            fs::write(path, &bytes).unwrap();
            let all = open_in(directory.path()).all().unwrap();
            assert_eq!((all.len(), all[0].state), (1, State::Done));
            let mended = read_file(&LocalDisk, path, VAULT, &key(1)).unwrap();
            assert_eq!(mended.as_ref(), Some(&all[0]));
        }
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(open_in(directory.path()).all().unwrap().len(), 1);
    for path in [&path, &copy] {
        fs::write(path, flipped(&done, 40)).unwrap();
    }
    let refused = Receipts::open(directory.path(), VAULT, key(1), Arc::new(System)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert!(refused.to_string().contains("receipt 1"), "{refused}");
}

#[test]
fn a_receipt_does_not_serve_under_another_number() {
    let directory = tempfile::tempdir().unwrap();
    let receipts = open_in(directory.path());
    receipts.intend(&receipt(1)).unwrap();
    for (from, to) in paths_of(directory.path(), 1).iter().zip(paths_of(directory.path(), 2)) {
        fs::copy(from, to).unwrap();
    }
    assert_eq!(receipts.all().unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(read(&directory.path().join("absent"), VAULT, &key(1)).unwrap().is_empty());
}

/// Fails the operation of this number, and every one after it: the disk is gone.
#[derive(Debug)]
struct GoneAt {
    number: u64,
    seen: AtomicU64,
}

impl Observer for GoneAt {
    fn begin(&self, _operation: &Operation<'_>) -> Verdict {
        const EIO: i32 = 5;
        let seen = self.seen.fetch_add(1, Ordering::SeqCst);
        if seen < self.number { Verdict::Go(seen) } else { Verdict::Fail(EIO) }
    }

    fn end(&self, _operation: &Operation<'_>, _ticket: u64) {}
}

#[test]
fn whatever_operation_fails_an_intent_or_receipt_that_was_answered_stands() {
    let mut whole = false;
    for number in 0.. {
        let directory = tempfile::tempdir().unwrap();
        let observer = Arc::new(GoneAt { number, seen: 0.into() });
        let disk = Arc::new(ObservedDisk::new(Arc::new(LocalDisk), observer));
        let path = directory.path().join("receipts");
        let receipts = Receipts::open_on(disk, &path, VAULT, key(1), Arc::new(System));
        let mut answered = None;
        if let Ok(receipts) = &receipts
            && let Ok(number) = receipts.intend(&receipt(1))
        {
            answered = Some(State::Intended);
            if receipts.finish(&Receipt { number, ..receipt(1) }).is_ok() {
                answered = Some(State::Done);
                whole = true;
            }
        }
        // The next start finds all that was answered, in both files, and can go on.
        let receipts = open_in(&path);
        let all = receipts.all().unwrap();
        assert!(all.len() <= 1, "operation {number}");
        let found = all.first().map(|entry| entry.state);
        assert!(found >= answered, "operation {number}: {found:?} after {answered:?}");
        receipts.intend(&receipt(2)).unwrap();
        if whole {
            break;
        }
    }
    assert!(whole, "the last round failed nothing");
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}
