//! A whole data directory, keys and packs, read back without a catalog.

use std::{collections::HashMap, path::Path, sync::Arc};

use bytes::Bytes;
use readvault_ambient::{Entropy, System, testing::ManualClock};
use readvault_store::{
    chunk::{Cutter, open_record, seal_chunk},
    chunk_store::{ChunkStore, LocalChunkStore, StoreParams},
    ids::WriterId,
    keys::{KeySource, Keyring, VaultKeys, VaultKeysParams},
    manifest::{
        IdBlock, ManifestHead, ManifestKeys, ManifestReader, ManifestSpec, ManifestWriter, Tail,
    },
    pack::{Batch, RecordName, SealedRecord},
    vault::{DomainChoice, ItemKind, SlotChoice, Store},
};

use crate::sample::Sample;

const LENGTHS: [usize; 4] = [0, 70_000, 1 << 20, (2 << 20) + 5];

async fn open(directory: &Path) -> (VaultKeys, LocalChunkStore) {
    let entropy: Arc<dyn Entropy> = Arc::new(System);
    let (path, key) = (directory.join("keyring"), directory.join("dev.key"));
    if !key.exists() {
        std::fs::write(&key, [42; 32]).unwrap();
        Keyring::create(&path, &KeySource::File(key.clone()), entropy.clone()).unwrap();
    }
    let provider = Keyring::open(&path, &KeySource::File(key), entropy.clone()).unwrap();
    let params = VaultKeysParams {
        directory: directory.to_owned(),
        provider: Arc::new(provider),
        clock: Arc::new(ManualClock::at(0)),
        entropy: entropy.clone(),
    };
    let keys = VaultKeys::open(params).await.unwrap();
    let writer = WriterId::draw(&System);
    let params = StoreParams { vault_key: keys.vault_key().clone(), writer, entropy };
    (keys, LocalChunkStore::open(directory.join("packs"), params).unwrap())
}

/// Stores one file of each length.
async fn write(directory: &Path) -> Store {
    let (keys, chunks) = open(directory).await;
    let store = keys.create_store("123456789012", DomainChoice::Own).await.unwrap();
    let domain = keys.open_store(&store).await.unwrap();
    for length in LENGTHS {
        let item = keys.new_item(&store, ItemKind::Object, SlotChoice::Own).await.unwrap();
        let mut batch = Batch::default();
        let (mut rest, mut writer) = (Sample::body(length), ManifestWriter::inline(&[]));
        if length > 0 {
            writer = ManifestWriter::chunks(domain.chunk_size());
            let mut cutter = Cutter::new(domain.chunk_size());
            let mut cut = Vec::new();
            while !rest.is_empty() {
                cut.extend(cutter.push(&mut rest));
            }
            cut.extend(cutter.finish());
            for chunk in cut {
                let identity = domain.domain_keys().identify(&chunk);
                let sealed = seal_chunk(&identity, &chunk, domain.chunk_size(), &System);
                batch.records.push(SealedRecord::from(&sealed));
                writer.push(&identity.into_ref()).unwrap();
            }
        }
        let id = IdBlock {
            account: store.account.clone(),
            store: store.id,
            kind: item.kind as u8,
            item: item.id,
            role: 4,
            generation: 0,
            sequence: 1,
            slot: item.slot,
            replaces: Vec::new(),
        };
        let (key, tail) = (keys.key_block(&item).unwrap(), Tail::default());
        let spec = ManifestSpec { id: &id, key: &key, tail: &tail };
        let item_key = keys.item_key(&item).await.unwrap();
        let sealing = ManifestKeys { vault: keys.vault_key(), item: &item_key };
        let sealed = writer.seal(spec, sealing, &System).unwrap();
        batch.records.push(SealedRecord::from(&sealed));
        let _durable = chunks.append(batch).await.unwrap();
    }
    chunks.close().await.unwrap();
    store
}

#[tokio::test]
async fn every_file_is_found_from_keys_and_packs_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = write(directory.path()).await;
    let (keys, chunks) = open(directory.path()).await;
    let domain = keys.open_store(&store).await.unwrap();
    let mut records = HashMap::new();
    for pack in chunks.packs().unwrap() {
        for batch in chunks.contents(pack).await.unwrap().batches {
            for entry in batch.index.records {
                let extent = readvault_store::chunk_store::Extent {
                    pack,
                    offset: entry.offset,
                    length: entry.length,
                };
                records.insert(entry.name, chunks.read(extent).await.unwrap());
            }
        }
    }
    let mut found = Vec::new();
    for (name, record) in &records {
        let RecordName::Manifest(_) = name else { continue };
        let head = ManifestHead::open(record, keys.vault_key()).unwrap();
        let key = keys.item_key_of(head.id(), head.key()).await.unwrap();
        let fetch = |range: std::ops::Range<u64>| {
            let bytes = record.slice(range.start as usize..range.end as usize);
            async move { Ok(bytes) }
        };
        let manifest = ManifestReader::open(head, &key, fetch).await.unwrap();
        let mut body = Vec::new();
        for entry in manifest.entries(0..manifest.entry_count(), fetch).await.unwrap() {
            let record = &records[&RecordName::Chunk(entry.domain, entry.id)];
            let chunk = open_record(record, &entry, domain.chunk_size(), domain.domain_keys());
            body.extend_from_slice(chunk.unwrap().as_bytes());
        }
        found.push(Bytes::from(body));
    }
    found.sort_by_key(Bytes::len);
    assert!(found == LENGTHS.map(Sample::body), "every file, byte for byte");
}

/// For `python3 tests/decoder/open_vault.py`, which must find the same.
#[tokio::test]
#[ignore = "leaves a data directory in the temporary directory for the second decoder"]
async fn write_a_directory() {
    let directory = std::env::temp_dir().join("readvault-at-rest");
    std::fs::create_dir(&directory).unwrap();
    write(&directory).await;
}
