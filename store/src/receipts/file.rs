//! The file of one receipt (`docs/format.md` §8.1).

use readvault_ambient::Entropy;

use super::{Entry, Receipt, State};
use crate::{
    ids::VaultId,
    seal::{
        Reader, RecordError, SIGNATURE_BYTES, Salted, VaultKey, open_salted, put_lp, seal_salted,
    },
};

const MAGIC: [u8; 4] = *b"RVr1";
const VERSION: u8 = 1;
const STATE_INTENDED: u8 = 1;
const STATE_DONE: u8 = 2;
const HEADER_BYTES: usize = 4 + 1 + 1 + 4;
const LABEL: &str = "receipt";

/// Magic, version, state and number, then the sealed entry, then a CRC32C of all before.
pub(super) fn seal(
    entry: &Entry,
    vault: VaultId,
    vault_key: &VaultKey,
    entropy: &dyn Entropy,
) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.push(VERSION);
    out.push(match entry.state {
        State::Intended => STATE_INTENDED,
        State::Done => STATE_DONE,
    });
    out.extend_from_slice(&entry.number.to_le_bytes());
    let plain = [&entry.signature[..], &entry.receipt.canonical()].concat();
    let aad = bound_to(vault, &out);
    let salted = Salted { label: LABEL, aad: &aad };
    out.extend_from_slice(&seal_salted(vault_key, salted, &plain, entropy));
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    out
}

pub(super) fn open(
    file: &[u8],
    vault: VaultId,
    vault_key: &VaultKey,
) -> Result<Entry, RecordError> {
    let (body, sum) = file.split_last_chunk::<4>().ok_or(RecordError::Length)?;
    let (header, sealed) = body.split_at_checked(HEADER_BYTES).ok_or(RecordError::Length)?;
    if u32::from_le_bytes(*sum) != crc32c::crc32c(body) {
        return Err(RecordError::Checksum);
    }
    let mut fields = Reader::new(header);
    if fields.array()? != MAGIC {
        return Err(RecordError::Form("magic of a receipt"));
    }
    let (version, state) = (fields.u8()?, fields.u8()?);
    let state = match (version, state) {
        (VERSION, STATE_INTENDED) => State::Intended,
        (VERSION, STATE_DONE) => State::Done,
        _ => return Err(RecordError::Unsupported),
    };
    let number = fields.u32()?;
    let aad = bound_to(vault, header);
    let plain = open_salted(vault_key, Salted { label: LABEL, aad: &aad }, sealed)?;
    let (signature, receipt) =
        plain.split_first_chunk::<SIGNATURE_BYTES>().ok_or(RecordError::Length)?;
    let receipt = Receipt::from_canonical(receipt)?;
    if receipt.number != number {
        return Err(RecordError::Form("number of a receipt"));
    }
    Ok(Entry { number, state, receipt, signature: *signature })
}

/// LP(vault) ‖ header.
fn bound_to(vault: VaultId, header: &[u8]) -> Vec<u8> {
    let mut aad = Vec::with_capacity(20 + header.len());
    put_lp(&mut aad, &vault.0);
    aad.extend_from_slice(header);
    aad
}
