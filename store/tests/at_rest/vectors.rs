//! Test vectors for every derivation and record of `docs/format.md`.
//!
//! The checked-in files are compared with what this program makes from the same seeds. After a
//! change of the format, `cargo test -p readvault-store --test at_rest -- --ignored` writes them
//! anew.

use std::{path::PathBuf, sync::Arc};

use crate::sample::{Sample, size};
use futures::FutureExt;
use readvault_ambient::{Entropy, testing::SeededEntropy};
use readvault_store::{
    chunk::ChunkSize,
    disk::LocalDisk,
    ids::{DomainId, ItemId, ManifestId, PackId, StoreId, VaultId},
    keys::{
        Context, DomainEntry, KeyEntry, KeyLog, KeyProvider, KeySource, Keyring, MemoryKeyProvider,
        PassphraseCost, Purpose, ShredSlots, StoreEntry,
    },
    receipts::{Receipt, Receipts, Shared, SharingItem},
    seal::{
        DataKey, KeyEncryptionKey, RootKey, Salted, SecretKey, VaultKey, expand,
        extract_and_expand, lp, padme, seal_salted, sha256,
    },
};
use serde_json::{Value, json};
use zeroize::Zeroizing;

type Make = fn() -> Value;

const FILES: [(&str, Make); 6] = [
    ("derivations.json", derivations),
    ("chunk.json", chunks),
    ("manifest.json", manifests),
    ("pack.json", packs),
    ("keys.json", keys),
    ("receipts.json", receipts),
];

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors").join(name)
}

#[test]
fn the_checked_in_vectors_are_what_this_program_makes() {
    for (name, make) in FILES {
        let stored = std::fs::read_to_string(path(name)).unwrap();
        let stored: Value = serde_json::from_str(&stored).unwrap();
        assert!(stored == make(), "{name} differs");
    }
}

#[test]
#[ignore = "writes the vectors anew; run it after a deliberate change of the format"]
fn write_the_vectors() {
    for (name, make) in FILES {
        let text = serde_json::to_string_pretty(&make()).unwrap();
        std::fs::write(path(name), text + "\n").unwrap();
    }
}

fn derivations() -> Value {
    let key = KeyEncryptionKey::from_bytes(&[3; 32]);
    let labels = [
        "h",
        "id",
        "ck",
        "fid",
        "chunk",
        "chunk-enc",
        "chunk-com",
        "manifest",
        "manifest-enc",
        "manifest-com",
        "id-block",
        "key-block",
        "batch-index",
        "domain-secret",
        "item-seed",
        "catalog",
        "catalog-file",
    ];
    let expanded = labels.map(|label| {
        let out: DataKey = expand(&key, label, &[b"field one", &lp(b"field two")]);
        json!({
            "label": label,
            "fields": hex::encode([&b"field one"[..], &lp(b"field two")].concat()),
            "out": hex::encode(out.expose()),
        })
    });
    let extracted: DataKey = extract_and_expand(&key, &[4; 32], "item", &[&lp(b"context")]);
    let salted = Salted { label: "id-block", aad: b"bound to this" };
    let sealed = seal_salted(&key, salted, b"plain text", &SeededEntropy::new(1));
    let lengths = [0, 1, 2, 3, 9, 100, 1000, 4097, 65_544, 262_151, 1_048_583, 1 << 40];
    json!({
        "expand": { "key": hex::encode(key.expose()), "cases": expanded },
        "extract_and_expand": {
            "secret": hex::encode(key.expose()),
            "salt": hex::encode([4; 32]),
            "label": "item",
            "fields": hex::encode(lp(b"context")),
            "out": hex::encode(extracted.expose()),
        },
        "sealed_with_salt": {
            "key": hex::encode(key.expose()),
            "label": "id-block",
            "aad": hex::encode(b"bound to this"),
            "plain": hex::encode(b"plain text"),
            "sealed": hex::encode(sealed),
        },
        "padme": lengths.map(|length| [length, padme(length)]),
    })
}

fn chunks() -> Value {
    let sample = Sample::new(11);
    let lengths = [1, 4088, 4089, 65_536, 70_000, 262_143, 262_144];
    let cases = lengths.map(|length| {
        let (entry, sealed) = sample.chunk(&Sample::body(length));
        let record = sealed.record();
        let row = sealed.row(PackId([5; 16]), 1234, 6);
        let whole = record.len() < 10_000;
        json!({
            "plain_length": length,
            "cid": hex::encode(entry.id.0),
            "ckr": hex::encode(entry.key.expose()),
            "header": hex::encode(sealed.header().encode()),
            "record": whole.then(|| hex::encode(record)),
            "record_sha256": hex::encode(sha256(&[record])),
            "row": hex::encode(row.encode()),
        })
    });
    json!({
        "domain_secret": hex::encode(sample.domain_secret.expose()),
        "chunk_size": size().bytes(),
        "cases": cases,
    })
}

fn manifests() -> Value {
    let sample = Sample::new(12);
    let (one_chunk, _) = sample.manifest(&[Sample::body(100_000)]);
    let parts = [Sample::body(270_000), Sample::body(270_000), Sample::body(0), Sample::body(9)];
    let (parts_manifest, _) = sample.manifest(&parts);
    let records = [
        ("empty", vec![0], sample.inline(&Sample::body(0))),
        ("inline", vec![300], sample.inline(&Sample::body(300))),
        ("one chunk", vec![100_000], one_chunk),
        ("parts", vec![270_000, 270_000, 0, 9], parts_manifest),
    ];
    let records = records.map(|(name, parts, manifest)| {
        let row = manifest.row(PackId([5; 16]), 1234);
        json!({
            "name": name,
            "part_lengths": parts,
            "record": hex::encode(manifest.record()),
            "row": hex::encode(row.encode()),
        })
    });
    json!({
        "vault_key": hex::encode(sample.vault_key.expose()),
        "store_key": hex::encode(sample.store_key.expose()),
        "slot_secret": hex::encode(sample.slot.expose()),
        "item_context": hex::encode(sample.context.encode()),
        "wrapped_seed": hex::encode(&sample.wrapped_seed),
        "item_key": hex::encode(sample.item_key.expose()),
        "domain_secret": hex::encode(sample.domain_secret.expose()),
        "records": records,
    })
}

fn packs() -> Value {
    let sample = Sample::new(13);
    let (pack, extents) = sample.pack();
    json!({
        "vault_key": hex::encode(sample.vault_key.expose()),
        "item_key": hex::encode(sample.item_key.expose()),
        "pack": hex::encode(pack),
        "extents": extents.iter().map(|e| json!([e.offset, e.length])).collect::<Vec<_>>(),
        "bodies": [5000, 70_000, 300],
    })
}

fn keys() -> Value {
    let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(14));
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (vault, store) = (VaultId([1; 16]), StoreId([2; 16]));
    let purpose = Purpose::Store { account: "123456789012".into(), store };
    let context = Context { vault, purpose };
    let raw = Zeroizing::new([6; 32]);
    let by_file =
        Keyring::create(&at("raw"), &KeySource::Raw(raw.clone()), entropy.clone()).unwrap();
    let (data_key, wrapped) = by_file.generate(&context).now_or_never().unwrap().unwrap();
    let cost = PassphraseCost { memory_kib: 64, passes: 1, lanes: 1 };
    let passphrase = KeySource::Passphrase(Zeroizing::new("correct horse".into()));
    Keyring::create_at_cost(&at("passphrase"), &passphrase, cost, entropy.clone()).unwrap();

    let mut log = KeyLog::create(&LocalDisk, &at("log"), &at("copy"), vault).unwrap();
    let entry = StoreEntry { account: "123456789012".into(), store, epoch: 1, slot: 9, wrapped };
    let domain = DomainEntry {
        store,
        store_key_epoch: 1,
        domain: DomainId([3; 16]),
        epoch: 1,
        chunk_size: ChunkSize::DEFAULT,
        sealed: vec![7; 64],
    };
    log.append(&[KeyEntry::Store(entry.clone()), KeyEntry::Domain(domain)]).unwrap();
    assert_eq!(std::fs::read(at("log")).unwrap(), std::fs::read(at("copy")).unwrap());

    let slots =
        ShredSlots::open(&LocalDisk, &at("slots"), &at("slots.copy"), entropy.clone()).unwrap();
    let (kept, destroyed) = (slots.allot().unwrap(), slots.allot().unwrap());
    let secret = slots.secret(kept).unwrap();
    slots.destroy(destroyed).unwrap();
    let slot_bytes = std::fs::read(at("slots")).unwrap();

    // The memory provider wraps as the keyring does.
    let memory = MemoryKeyProvider::new(Arc::new(SeededEntropy::new(15)));
    let root = RootKey::draw(&SeededEntropy::new(15));
    let (memory_key, memory_wrapped) = memory.generate(&context).now_or_never().unwrap().unwrap();
    json!({
        "context": hex::encode(context.encode()),
        "wrapping": {
            "root": hex::encode(root.expose()),
            "wrapped": hex::encode(&memory_wrapped.bytes),
            "key": hex::encode(memory_key.expose()),
        },
        "keyring_file": {
            "raw_source": hex::encode(*raw),
            "file": hex::encode(std::fs::read(at("raw")).unwrap()),
            "wrapped": hex::encode(&entry.wrapped.bytes),
            "key": hex::encode(data_key.expose()),
        },
        "keyring_file_by_passphrase": {
            "passphrase": "correct horse",
            "file": hex::encode(std::fs::read(at("passphrase")).unwrap()),
        },
        "key_log": hex::encode(std::fs::read(at("log")).unwrap()),
        "slots": {
            "filled": hex::encode(&slot_bytes[..64]),
            "secret": hex::encode(secret.expose()),
            "destroyed": hex::encode(&slot_bytes[64..128]),
        },
    })
}

fn receipts() -> Value {
    let (vault, vault_key) = (VaultId([1; 16]), [8; 32]);
    let directory = tempfile::tempdir().unwrap();
    let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(15));
    let key = Arc::new(VaultKey::from_bytes(&vault_key));
    let receipts = Receipts::open(directory.path(), vault, key, entropy).unwrap();
    let receipt = Receipt {
        by: "uid 0".into(),
        excludes: vec!["nothing".into()],
        file_bytes: 3_000_000,
        format: 1,
        item: ItemId([3; 16]),
        kind: "read set".into(),
        manifests: vec![ManifestId([4; 16])],
        number: 1,
        reason: "ticket \"7\" – done\n".into(),
        resource: "sequenceStore/1000000001/readSet/1000000002".into(),
        shared: Shared {
            chunks_left_out: 0,
            items: vec![SharingItem {
                item: ItemId([5; 16]),
                kind: "object".into(),
                store: StoreId([2; 16]),
            }],
            more: 0,
            unread: 0,
        },
        slot: 17,
        store: StoreId([2; 16]),
        time_begun: "2026-01-01T00:00:00.000Z".into(),
        time_done: String::new(),
        vault,
    };
    let file = || hex::encode(std::fs::read(directory.path().join("00000001")).unwrap());
    let canonical = |receipt: &Receipt| String::from_utf8(receipt.canonical()).unwrap();
    receipts.intend(&receipt).unwrap();
    let intended = json!({ "canonical": canonical(&receipt), "file": file() });
    let receipt = Receipt { time_done: "2026-01-01T00:00:01.000Z".into(), ..receipt };
    let signed = receipts.finish(&receipt).unwrap();
    json!({
        "vault": hex::encode(vault.0),
        "vault_key": hex::encode(vault_key),
        "public_key": hex::encode(receipts.public_key()),
        "intended": intended,
        "done": {
            "canonical": canonical(&receipt),
            "file": file(),
            "signature": signed.signature,
        },
    })
}
