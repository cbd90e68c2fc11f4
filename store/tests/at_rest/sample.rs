//! One small vault's worth of records, made from a seed: what the vectors and the hostile tests
//! use.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use readvault_ambient::{Entropy, testing::SeededEntropy};
use readvault_store::{
    chunk::{
        ChunkRef, ChunkSize, Cutter, DomainKeys, FileIdHasher, PlainChunk, SealedChunk, seal_chunk,
    },
    chunk_store::{ChunkStore, Extent, MemoryChunkStore, StoreParams},
    ids::{DomainId, ItemId, ManifestId, StoreId, WriterId},
    keys::{ItemContext, new_item_key},
    manifest::{
        Digest, DigestKind, IdBlock, KeyBlock, ManifestKeys, ManifestSpec, ManifestWriter,
        SealedManifest, Tail,
    },
    pack::{Batch, SealedRecord, Tombstone},
    seal::{DomainSecret, ItemKey, SecretKey, ShredSecret, StoreKey, VaultKey},
};

/// Everything that a reader of the sample needs, and the sample itself.
#[derive(Debug)]
pub(crate) struct Sample {
    /// Where its randomness came from.
    pub(crate) entropy: Arc<SeededEntropy>,
    /// VK.
    pub(crate) vault_key: Arc<VaultKey>,
    /// SK.
    pub(crate) store_key: StoreKey,
    /// The item's slot.
    pub(crate) slot: ShredSecret,
    /// Whose item it is.
    pub(crate) context: ItemContext,
    /// IK.
    pub(crate) item_key: ItemKey,
    /// The sealed seed.
    pub(crate) wrapped_seed: Vec<u8>,
    /// DS.
    pub(crate) domain_secret: DomainSecret,
    /// Its keys.
    pub(crate) domain: DomainKeys,
}

/// The chunk size of the sample.
pub(crate) fn size() -> ChunkSize {
    ChunkSize::new(256 << 10).unwrap()
}

impl Sample {
    /// The sample of `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        let entropy = Arc::new(SeededEntropy::new(seed));
        let vault_key = Arc::new(VaultKey::draw(&*entropy));
        let (store_key, slot) = (StoreKey::draw(&*entropy), ShredSecret::draw(&*entropy));
        let context = ItemContext {
            account: "123456789012".into(),
            store: StoreId::draw(&*entropy),
            kind: 3,
            item: ItemId::draw(&*entropy),
        };
        let (item_key, wrapped_seed) = new_item_key(&context, &store_key, &slot, &*entropy);
        let domain_secret = DomainSecret::draw(&*entropy);
        let domain = DomainKeys::derive(&domain_secret, DomainId::draw(&*entropy), 1);
        Self {
            entropy,
            vault_key,
            store_key,
            slot,
            context,
            item_key,
            wrapped_seed,
            domain_secret,
            domain,
        }
    }

    /// `length` bytes that follow from `length` alone: byte i is i·i·31 + i/7 + length, modulo 251.
    pub(crate) fn body(length: usize) -> Bytes {
        let byte = |i: u64| u8::try_from((i * i * 31 + i / 7 + length as u64) % 251).unwrap();
        (0..length as u64).map(byte).collect()
    }

    /// The chunks of `body`.
    pub(crate) fn cut(body: &Bytes) -> Vec<PlainChunk> {
        let (mut cutter, mut rest, mut chunks) = (Cutter::new(size()), body.clone(), Vec::new());
        while !rest.is_empty() {
            chunks.extend(cutter.push(&mut rest));
        }
        chunks.extend(cutter.finish());
        chunks
    }

    /// The only chunk of `body`, sealed.
    pub(crate) fn chunk(&self, body: &Bytes) -> (ChunkRef, SealedChunk) {
        let [chunk] = &Self::cut(body)[..] else { panic!("one chunk") };
        let identity = self.domain.identify(chunk);
        let sealed = seal_chunk(&identity, chunk, size(), &*self.entropy);
        (identity.into_ref(), sealed)
    }

    /// The blocks of the item's manifests.
    pub(crate) fn blocks(&self) -> (IdBlock, KeyBlock) {
        let ItemContext { account, store, kind, item } = self.context.clone();
        let replaces = vec![ItemId([9; 16])];
        let id = IdBlock {
            account,
            store,
            kind,
            item,
            role: 4,
            generation: 0,
            sequence: 7,
            slot: 5,
            replaces,
        };
        let key = KeyBlock {
            wrap: 1,
            store_key_epoch: 1,
            key_id: "keyring/v1".into(),
            context: b"context".to_vec(),
            wrapped_seed: self.wrapped_seed.clone(),
        };
        (id, key)
    }

    /// Seals what `writer` gathered.
    pub(crate) fn seal(&self, writer: ManifestWriter, tail: &Tail) -> SealedManifest {
        let (id, key) = self.blocks();
        let keys = ManifestKeys { vault: &self.vault_key, item: &self.item_key };
        writer.seal(ManifestSpec { id: &id, key: &key, tail }, keys, &*self.entropy).unwrap()
    }

    /// The manifest of a file of these parts, and its chunks.
    pub(crate) fn manifest(&self, parts: &[Bytes]) -> (SealedManifest, Vec<SealedChunk>) {
        let (mut writer, mut chunks) = (ManifestWriter::chunks(size()), Vec::new());
        let mut file = FileIdHasher::new(&self.domain);
        for part in parts {
            for chunk in Self::cut(part) {
                let identity = self.domain.identify(&chunk);
                chunks.push(seal_chunk(&identity, &chunk, size(), &*self.entropy));
                file.chunk(&identity);
                writer.push(&identity.into_ref()).unwrap();
            }
            writer.end_part().unwrap();
        }
        let file = Digest { kind: DigestKind::FileId, value: file.finish().0.to_vec() };
        (self.seal(writer, &tail(file)), chunks)
    }

    /// The manifest of a file that lives in it.
    pub(crate) fn inline(&self, body: &Bytes) -> SealedManifest {
        let mut file = FileIdHasher::new(&self.domain);
        file.inline(&self.domain, body);
        let file = Digest { kind: DigestKind::FileId, value: file.finish().0.to_vec() };
        self.seal(ManifestWriter::inline(body), &tail(file))
    }

    /// An empty store that shares the sample's key and randomness.
    pub(crate) fn store(&self) -> MemoryChunkStore {
        let entropy: Arc<dyn Entropy> = self.entropy.clone();
        let writer = WriterId::draw(&*entropy);
        MemoryChunkStore::new(StoreParams { vault_key: self.vault_key.clone(), writer, entropy })
    }

    /// A pack of two batches: a manifest with its chunks, then an inline manifest, a tombstone, a
    /// void.
    pub(crate) fn pack(&self) -> (Vec<u8>, Vec<Extent>) {
        let store = self.store();
        let (manifest, chunks) = self.manifest(&[Self::body(5000), Self::body(70_000)]);
        let mut records: Vec<SealedRecord> = chunks.iter().map(SealedRecord::from).collect();
        records.push(SealedRecord::from(&manifest));
        let first = Batch { records, ..Batch::default() };
        let first = store.append(first).now_or_never().unwrap().unwrap();
        store.acknowledge(3);
        let inline = self.inline(&Self::body(300));
        let tombstone = Tombstone { store: self.context.store, item: ItemId([9; 16]) };
        let second = Batch {
            records: vec![SealedRecord::from(&inline)],
            tombstones: vec![tombstone],
            voids: vec![ManifestId([8; 16])],
            bridges: Vec::new(),
        };
        let second = store.append(second).now_or_never().unwrap().unwrap();
        (store.pack_bytes(), [first.extents(), second.extents()].concat())
    }
}

fn tail(file: Digest) -> Tail {
    Tail {
        digests: vec![file],
        facts: Bytes::from_static(b"facts"),
        metadata: Bytes::from_static(b"name of the object"),
    }
}
