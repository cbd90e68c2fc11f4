//! How fast the rows of chunks come back from packs: a measurement, run by hand.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::sync::Arc;

use readvault_ambient::{Clock, Entropy, System};
use readvault_store::{
    catalog::row::RowSealer,
    chunk::{Cutter, seal_chunk},
    chunk_store::{ChunkStore, LocalChunkStore, StoreParams},
    ids::WriterId,
    keys::{MemoryKeyProvider, VaultKeys, VaultKeysParams},
    pack::{Batch, SealedRecord},
    seal::SecretKey,
    vault::{
        DomainChoice, TABLES,
        rebuild::{RebuildParams, replay, survey},
    },
};
use readvault_store_rocks::RocksCatalog;

/// Chunks of the measurement: 4 KiB each, the smallest there are.
const CHUNKS: usize = 200_000;

/// Chunks of one batch.
const BATCH: usize = 2000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: writes about 900 MB below the temporary directory"]
async fn rows_come_back_fast() {
    let directory = tempfile::tempdir().unwrap();
    let entropy: Arc<dyn Entropy> = Arc::new(System);
    let keys = VaultKeys::open(VaultKeysParams {
        directory: directory.path().to_owned(),
        provider: Arc::new(MemoryKeyProvider::new(entropy.clone())),
        clock: Arc::new(System),
        entropy: entropy.clone(),
    });
    let keys = Arc::new(keys.await.unwrap());
    let (vault_key, writer) = (keys.vault_key().clone(), WriterId::draw(&System));
    let params = StoreParams { vault_key, writer, entropy: entropy.clone() };
    let chunks = Arc::new(LocalChunkStore::open(directory.path().join("packs"), params).unwrap());
    let store = keys.create_store("123456789012", DomainChoice::Own).await.unwrap();
    let domain = keys.open_store(&store).await.unwrap();
    for first in (0..CHUNKS).step_by(BATCH) {
        let mut batch = Batch::default();
        for number in first..first + BATCH {
            let mut cutter = Cutter::new(domain.chunk_size());
            assert!(cutter.push(&mut number.to_string().into_bytes().into()).is_none());
            let chunk = cutter.finish().unwrap();
            let identity = domain.domain_keys().identify(&chunk);
            let sealed = seal_chunk(&identity, &chunk, domain.chunk_size(), &System);
            batch.records.push(SealedRecord::from(&sealed));
        }
        let _durable = chunks.append(batch).await.unwrap();
    }
    chunks.close().await.unwrap();
    let sealer = RowSealer::new(SecretKey::from_bytes(keys.catalog_key().expose()));
    let catalog = directory.path().join("catalog");
    let catalog = RocksCatalog::open(&catalog, TABLES, Arc::new(sealer), entropy).unwrap();
    let params = RebuildParams { catalog: Arc::new(catalog), chunks, keys };
    let began = System.monotonic();
    let surveyed = survey(&params.chunks, &|_| {}).await.unwrap();
    let replayed = replay(&params, &surveyed, &|_| {}).await.unwrap();
    let took = System.monotonic() - began;
    assert_eq!((replayed.met.chunks, replayed.unreadable), (CHUNKS as u64, 0));
    let rate = f64::from(u32::try_from(CHUNKS).unwrap()) / took.as_secs_f64();
    println!("{CHUNKS} chunks in {took:.2?}: {rate:.0} a second");
}
