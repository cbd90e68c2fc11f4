//! The sealed index that ends a batch (`docs/format.md` §5.2).

use readvault_ambient::Entropy;

use crate::{
    chunk::ChunkId,
    ids::{DomainId, ItemId, ManifestId, PackId, StoreId, WriterId},
    seal::{Reader, RecordError, Salted, VaultKey, open_salted, seal_salted, sha256},
};

/// First bytes of an index record.
pub const INDEX_MAGIC: [u8; 4] = *b"RVx1";

/// Most sealed bytes of one index.
pub const INDEX_BYTES_MAX: usize = 16 << 20;

pub(super) const INDEX_HEADER_BYTES: usize = 4 + 1 + 4 + 4 + 4;

const INDEX_VERSION: u8 = 1;
const CLASS_CHUNK: u8 = 1;
const CLASS_MANIFEST: u8 = 2;
const ENTRY_BYTES: usize = 1 + 8 + 4 + 16 + 32;

/// What one record holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RecordName {
    /// A chunk of this domain.
    Chunk(DomainId, ChunkId),
    /// A manifest.
    Manifest(ManifestId),
}

/// One record of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexEntry {
    /// What it holds.
    pub name: RecordName,
    /// Where in the pack it begins.
    pub offset: u64,
    /// Its bytes.
    pub length: u32,
}

/// An item that ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tombstone {
    /// The item's store.
    pub store: StoreId,
    /// The item.
    pub item: ItemId,
}

/// A pack that was compacted away: what lived in it lies elsewhere, and the chain of its writer goes on
/// behind it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Bridge {
    /// The pack.
    pub pack: PackId,
    /// What its first index named as the writer's previous one.
    pub previous: [u8; 32],
    /// SHA-256 of its last index record.
    pub last: [u8; 32],
}

const BRIDGE_BYTES: usize = 16 + 32 + 32;

/// Where an index belongs: it opens nowhere else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexPlace {
    /// The pack.
    pub pack: PackId,
    /// Number of the batch in the pack, from 0.
    pub batch: u32,
}

impl IndexPlace {
    fn aad(&self) -> [u8; 20] {
        let mut aad = [0; 20];
        aad[..16].copy_from_slice(&self.pack.0);
        aad[16..].copy_from_slice(&self.batch.to_le_bytes());
        aad
    }
}

/// All that a rebuild may trust about one batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BatchIndex {
    /// Who wrote it.
    pub writer: WriterId,
    /// Number of the batch among its writer's, from 1, in whichever pack; those of batches that failed
    /// are left out.
    pub sequence: u64,
    /// The highest version of a catalog commit that was acknowledged by then.
    pub acknowledged: u64,
    /// SHA-256 of the writer's previous index record, in whichever pack; zeros for its first.
    pub previous: [u8; 32],
    /// Where in the pack the batch begins.
    pub start: u64,
    /// The records, which lie one behind the other from `start` to the index.
    pub records: Vec<IndexEntry>,
    /// Items that ended.
    pub tombstones: Vec<Tombstone>,
    /// Manifests that are not visible from here on, unless a later batch holds one again.
    pub voids: Vec<ManifestId>,
    /// Packs that were compacted away before this.
    pub bridges: Vec<Bridge>,
}

impl BatchIndex {
    /// Seals the index into its record: header ‖ salt ‖ ciphertext ‖ tag ‖ CRC32C of all before.
    ///
    /// # Panics
    /// When it names more than fits in [`INDEX_BYTES_MAX`].
    #[must_use]
    pub fn seal(&self, place: IndexPlace, vk: &VaultKey, entropy: &dyn Entropy) -> Vec<u8> {
        let salted = Salted { label: "batch-index", aad: &place.aad() };
        let sealed = seal_salted(vk, salted, &self.encode(), entropy);
        assert!(sealed.len() <= INDEX_BYTES_MAX, "batches are limited");
        let mut out = Vec::with_capacity(INDEX_HEADER_BYTES + sealed.len() + 4);
        out.extend_from_slice(&INDEX_MAGIC);
        out.push(INDEX_VERSION);
        out.extend_from_slice(&place.batch.to_le_bytes());
        out.extend_from_slice(&narrow(sealed.len()).to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out.extend_from_slice(&sealed);
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out
    }

    /// Opens the index record `record` of `pack`; gives it with the number of its batch.
    ///
    /// # Errors
    /// `Length`, `Form`, `Checksum`, `Authentication`, `Unsupported`.
    pub fn open(record: &[u8], pack: PackId, vk: &VaultKey) -> Result<(u32, Self), RecordError> {
        let (batch, length) = decode_header(record)?;
        if record.len() != index_record_bytes(length) {
            return Err(RecordError::Length);
        }
        let (body, sum) = record.split_at(record.len() - 4);
        if sum != crc32c::crc32c(body).to_le_bytes() {
            return Err(RecordError::Checksum);
        }
        let aad = IndexPlace { pack, batch }.aad();
        let salted = Salted { label: "batch-index", aad: &aad };
        let plain = open_salted(vk, salted, &body[INDEX_HEADER_BYTES..])?;
        Ok((batch, Self::decode(&plain)?))
    }

    /// Where the batch's records end and its index begins.
    #[must_use]
    pub fn records_end(&self) -> u64 {
        self.records.last().map_or(self.start, |last| last.offset + u64::from(last.length))
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96 + ENTRY_BYTES * self.records.len());
        out.extend_from_slice(&self.writer.0);
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.acknowledged.to_le_bytes());
        out.extend_from_slice(&self.previous);
        out.extend_from_slice(&self.start.to_le_bytes());
        out.extend_from_slice(&narrow(self.records.len()).to_le_bytes());
        self.records.iter().for_each(|entry| entry.put(&mut out));
        out.extend_from_slice(&narrow(self.tombstones.len()).to_le_bytes());
        for Tombstone { store, item } in &self.tombstones {
            out.extend_from_slice(&store.0);
            out.extend_from_slice(&item.0);
        }
        out.extend_from_slice(&narrow(self.voids.len()).to_le_bytes());
        self.voids.iter().for_each(|manifest| out.extend_from_slice(&manifest.0));
        if !self.bridges.is_empty() {
            out.extend_from_slice(&narrow(self.bridges.len()).to_le_bytes());
            self.bridges.iter().for_each(|bridge| bridge.put(&mut out));
        }
        out
    }

    fn decode(plain: &[u8]) -> Result<Self, RecordError> {
        let mut fields = Reader::new(plain);
        let writer = WriterId(fields.array()?);
        let (sequence, acknowledged) = (fields.u64()?, fields.u64()?);
        let (previous, start) = (fields.array()?, fields.u64()?);
        let records = fields.count(ENTRY_BYTES)?;
        let records =
            (0..records).map(|_| IndexEntry::decode(&mut fields)).collect::<Result<Vec<_>, _>>()?;
        let mut end = start;
        for entry in &records {
            if entry.offset != end {
                return Err(RecordError::Form("records of a batch"));
            }
            end = end.checked_add(u64::from(entry.length)).ok_or(RecordError::Length)?;
        }
        let mut tombstones = Vec::new();
        for _ in 0..fields.count(32)? {
            let (store, item) = (StoreId(fields.array()?), ItemId(fields.array()?));
            tombstones.push(Tombstone { store, item });
        }
        let voids = fields.count(16)?;
        let voids = (0..voids).map(|_| fields.array().map(ManifestId)).collect::<Result<_, _>>()?;
        let bridges = Bridge::decode_all(&mut fields)?;
        fields.end()?;
        Ok(Self {
            writer,
            sequence,
            acknowledged,
            previous,
            start,
            records,
            tombstones,
            voids,
            bridges,
        })
    }
}

impl Bridge {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.pack.0);
        out.extend_from_slice(&self.previous);
        out.extend_from_slice(&self.last);
    }

    /// The bridges at the end of an index, where there is more than nothing.
    fn decode_all(fields: &mut Reader<'_>) -> Result<Vec<Self>, RecordError> {
        if fields.is_empty() {
            return Ok(Vec::new());
        }
        let count = fields.count(BRIDGE_BYTES)?;
        if count == 0 {
            return Err(RecordError::Form("bridges of an index"));
        }
        let bridge = |fields: &mut Reader<'_>| {
            let pack = PackId(fields.array()?);
            Ok(Self { pack, previous: fields.array()?, last: fields.array()? })
        };
        (0..count).map(|_| bridge(fields)).collect()
    }
}

impl IndexEntry {
    fn put(&self, out: &mut Vec<u8>) {
        let (class, domain, id) = match self.name {
            RecordName::Chunk(domain, id) => (CLASS_CHUNK, domain.0, id.0),
            RecordName::Manifest(id) => {
                let mut padded = [0; 32];
                padded[..16].copy_from_slice(&id.0);
                (CLASS_MANIFEST, [0; 16], padded)
            }
        };
        out.push(class);
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&domain);
        out.extend_from_slice(&id);
    }

    fn decode(fields: &mut Reader<'_>) -> Result<Self, RecordError> {
        let (class, offset, length) = (fields.u8()?, fields.u64()?, fields.u32()?);
        let (domain, id) = (fields.array::<16>()?, fields.array::<32>()?);
        let name = match class {
            CLASS_CHUNK => RecordName::Chunk(DomainId(domain), ChunkId(id)),
            CLASS_MANIFEST if domain == [0; 16] && id[16..] == [0; 16] => {
                let id = id.first_chunk().expect("32 bytes begin with 16");
                RecordName::Manifest(ManifestId(*id))
            }
            _ => return Err(RecordError::Form("class of a record")),
        };
        Ok(Self { name, offset, length })
    }
}

/// Number of the batch and length of the sealed part.
pub(super) fn decode_header(record: &[u8]) -> Result<(u32, usize), RecordError> {
    let header = record.get(..INDEX_HEADER_BYTES).ok_or(RecordError::Length)?;
    let mut fields = Reader::new(header);
    if fields.array()? != INDEX_MAGIC {
        return Err(RecordError::Form("magic of an index"));
    }
    let (version, batch, length) = (fields.u8()?, fields.u32()?, fields.u32()? as usize);
    if fields.u32()? != crc32c::crc32c(&header[..INDEX_HEADER_BYTES - 4]) {
        return Err(RecordError::Checksum);
    }
    if version != INDEX_VERSION {
        return Err(RecordError::Unsupported);
    }
    if length > INDEX_BYTES_MAX { Err(RecordError::Length) } else { Ok((batch, length)) }
}

/// Bytes of the index record whose sealed part has `length`.
pub(super) fn index_record_bytes(length: usize) -> usize {
    INDEX_HEADER_BYTES + length + 4
}

/// What the writer's next index names as its previous one.
pub(crate) fn chain_hash(record: &[u8]) -> [u8; 32] {
    sha256(&[record])
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).expect("batches are limited")
}
