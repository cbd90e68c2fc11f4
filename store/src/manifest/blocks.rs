//! The two small blocks of a manifest: whose file it is, and how its item's key is wrapped.

use readvault_ambient::Entropy;

use crate::{
    ids::{ItemId, StoreId},
    seal::{Reader, RecordError, Salted, VaultKey, open_salted, put_lp, seal_salted},
};

/// Most items that one manifest may say it replaces.
pub const REPLACES_MAX: usize = 1024;

const ACCOUNT_BYTES_MAX: usize = 64;
const KEY_ID_BYTES_MAX: usize = 2048;
const CONTEXT_BYTES_MAX: usize = 1024;
const SEED_BYTES_MAX: usize = 1024;

/// Bytes of the longest id block, sealed.
pub(super) const ID_BLOCK_BYTES_MAX: usize = 4 + ACCOUNT_BYTES_MAX + 58 + 16 * REPLACES_MAX + 32;

/// Bytes of the longest key block, sealed.
pub(super) const KEY_BLOCK_BYTES_MAX: usize =
    17 + KEY_ID_BYTES_MAX + CONTEXT_BYTES_MAX + SEED_BYTES_MAX + 32;

/// Whose file a manifest describes: what a rebuild needs to place it. Kinds and roles are the
/// vault's codes; here they are bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdBlock {
    /// The account that owns the store (at most 64 bytes).
    pub account: String,
    /// The store.
    pub store: StoreId,
    /// What the item is.
    pub kind: u8,
    /// The item.
    pub item: ItemId,
    /// Which file of the item.
    pub role: u8,
    /// 0 at first; one more at each rewrite of the same file.
    pub generation: u32,
    /// 0; kept for a sequence of its writer.
    pub sequence: u64,
    /// The item's shred slot.
    pub slot: u64,
    /// The items that this one replaces, at most [`REPLACES_MAX`].
    pub replaces: Vec<ItemId>,
}

impl IdBlock {
    pub(super) fn encode(&self) -> Vec<u8> {
        assert!(self.account.len() <= ACCOUNT_BYTES_MAX, "an account id is short");
        assert!(self.replaces.len() <= REPLACES_MAX, "a manifest replaces few items");
        let mut out = Vec::with_capacity(80 + 16 * self.replaces.len());
        put_lp(&mut out, self.account.as_bytes());
        out.extend_from_slice(&self.store.0);
        out.push(self.kind);
        out.extend_from_slice(&self.item.0);
        out.push(self.role);
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.slot.to_le_bytes());
        let count = u32::try_from(self.replaces.len()).expect("the count was checked");
        out.extend_from_slice(&count.to_le_bytes());
        self.replaces.iter().for_each(|item| out.extend_from_slice(&item.0));
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut fields = Reader::new(bytes);
        let account = fields.text(ACCOUNT_BYTES_MAX)?;
        let (store, kind) = (StoreId(fields.array()?), fields.u8()?);
        let (item, role) = (ItemId(fields.array()?), fields.u8()?);
        let (generation, sequence, slot) = (fields.u32()?, fields.u64()?, fields.u64()?);
        let count = fields.count(16)?;
        if count > REPLACES_MAX {
            return Err(RecordError::Form("items replaced"));
        }
        let replaces = (0..count).map(|_| fields.array().map(ItemId)).collect::<Result<_, _>>()?;
        fields.end()?;
        Ok(Self { account, store, kind, item, role, generation, sequence, slot, replaces })
    }
}

/// How the item's key is wrapped, so that a rebuild can unwrap it without a catalog.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyBlock {
    /// What wraps the store's key: 1 = keyring, 2 = AWS KMS, 0 = memory.
    pub wrap: u8,
    /// Epoch of the store's key that seals the seed.
    pub store_key_epoch: u32,
    /// Name of the master key (at most 2 KiB).
    pub key_id: String,
    /// Canonical encryption context of the store's key (at most 1 KiB).
    pub context: Vec<u8>,
    /// The item's seed, sealed under the store's key (at most 1 KiB).
    pub wrapped_seed: Vec<u8>,
}

impl KeyBlock {
    fn encode(&self) -> Vec<u8> {
        assert!(self.key_id.len() <= KEY_ID_BYTES_MAX, "a key id is short");
        assert!(self.context.len() <= CONTEXT_BYTES_MAX, "a key context is short");
        assert!(self.wrapped_seed.len() <= SEED_BYTES_MAX, "a wrapped seed is short");
        let mut out = vec![self.wrap];
        out.extend_from_slice(&self.store_key_epoch.to_le_bytes());
        put_lp(&mut out, self.key_id.as_bytes());
        put_lp(&mut out, &self.context);
        put_lp(&mut out, &self.wrapped_seed);
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut fields = Reader::new(bytes);
        let block = Self {
            wrap: fields.u8()?,
            store_key_epoch: fields.u32()?,
            key_id: fields.text(KEY_ID_BYTES_MAX)?,
            context: fields.lp(CONTEXT_BYTES_MAX)?.to_vec(),
            wrapped_seed: fields.lp(SEED_BYTES_MAX)?.to_vec(),
        };
        fields.end()?;
        Ok(block)
    }

    /// The block sealed under VK and bound to the header whose hash is `header`.
    pub(super) fn seal(&self, vk: &VaultKey, header: &[u8; 32], entropy: &dyn Entropy) -> Vec<u8> {
        seal_salted(vk, Salted { label: "key-block", aad: header }, &self.encode(), entropy)
    }

    pub(super) fn open(
        vk: &VaultKey,
        header: &[u8; 32],
        sealed: &[u8],
    ) -> Result<Self, RecordError> {
        let plain = open_salted(vk, Salted { label: "key-block", aad: header }, sealed)?;
        Self::decode(&plain)
    }
}

/// Seals the encoded id block `plain` likewise.
pub(super) fn seal_id(
    vk: &VaultKey,
    header: &[u8; 32],
    plain: &[u8],
    entropy: &dyn Entropy,
) -> Vec<u8> {
    seal_salted(vk, Salted { label: "id-block", aad: header }, plain, entropy)
}

/// Opens a sealed id block to its encoded bytes.
pub(super) fn open_id(
    vk: &VaultKey,
    header: &[u8; 32],
    sealed: &[u8],
) -> Result<Vec<u8>, RecordError> {
    open_salted(vk, Salted { label: "id-block", aad: header }, sealed).map(|plain| plain.to_vec())
}
