//! What the key log holds (`docs/format.md` §6.2).

use super::WrappedKey;
use crate::{
    chunk::ChunkSize,
    ids::{DomainId, StoreId},
    seal::{Reader, RecordError, put_lp},
};

const ACCOUNT_BYTES_MAX: usize = 64;
const SEALED_BYTES_MAX: usize = 1024;
const KIND_VAULT: u8 = 1;
const KIND_CATALOG: u8 = 2;
const KIND_STORE: u8 = 3;
const KIND_DOMAIN: u8 = 4;

/// One wrapped key. A later entry for the same key replaces the wrapping, not the key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyEntry {
    /// VK.
    Vault(WrappedKey),
    /// CATK.
    Catalog(WrappedKey),
    /// SK of one store.
    Store(StoreEntry),
    /// DS of one epoch of one domain, for one store.
    Domain(DomainEntry),
}

/// A store's wrapped key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreEntry {
    /// The account that owns the store.
    pub account: String,
    /// The store.
    pub store: StoreId,
    /// Epoch of its key, from 1.
    pub epoch: u32,
    /// The shred slot of those of its items that have none of their own.
    pub slot: u64,
    /// The key.
    pub wrapped: WrappedKey,
}

/// A domain's secret, sealed under one store's key. Stores that share a domain have an entry each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DomainEntry {
    /// The store whose key seals it.
    pub store: StoreId,
    /// Epoch of the store's key.
    pub store_key_epoch: u32,
    /// The domain.
    pub domain: DomainId,
    /// Epoch of the secret, from 1.
    pub epoch: u32,
    /// The domain's chunk size.
    pub chunk_size: ChunkSize,
    /// The sealed secret.
    pub sealed: Vec<u8>,
}

impl KeyEntry {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Vault(wrapped) => {
                out.push(KIND_VAULT);
                wrapped.put(&mut out);
            }
            Self::Catalog(wrapped) => {
                out.push(KIND_CATALOG);
                wrapped.put(&mut out);
            }
            Self::Store(entry) => {
                out.push(KIND_STORE);
                put_lp(&mut out, entry.account.as_bytes());
                out.extend_from_slice(&entry.store.0);
                out.extend_from_slice(&entry.epoch.to_le_bytes());
                out.extend_from_slice(&entry.slot.to_le_bytes());
                entry.wrapped.put(&mut out);
            }
            Self::Domain(entry) => {
                out.push(KIND_DOMAIN);
                out.extend_from_slice(&entry.store.0);
                out.extend_from_slice(&entry.store_key_epoch.to_le_bytes());
                out.extend_from_slice(&entry.domain.0);
                out.extend_from_slice(&entry.epoch.to_le_bytes());
                out.extend_from_slice(&entry.chunk_size.bytes().to_le_bytes());
                put_lp(&mut out, &entry.sealed);
            }
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut fields = Reader::new(bytes);
        let entry = match fields.u8()? {
            KIND_VAULT => Self::Vault(WrappedKey::decode(&mut fields)?),
            KIND_CATALOG => Self::Catalog(WrappedKey::decode(&mut fields)?),
            KIND_STORE => Self::Store(StoreEntry {
                account: fields.text(ACCOUNT_BYTES_MAX)?,
                store: StoreId(fields.array()?),
                epoch: fields.u32()?,
                slot: fields.u64()?,
                wrapped: WrappedKey::decode(&mut fields)?,
            }),
            KIND_DOMAIN => Self::Domain(DomainEntry {
                store: StoreId(fields.array()?),
                store_key_epoch: fields.u32()?,
                domain: DomainId(fields.array()?),
                epoch: fields.u32()?,
                chunk_size: ChunkSize::new(fields.u32()?)?,
                sealed: fields.lp(SEALED_BYTES_MAX)?.to_vec(),
            }),
            _ => return Err(RecordError::Unsupported),
        };
        fields.end()?;
        Ok(entry)
    }
}
