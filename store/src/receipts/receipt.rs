//! What a receipt says, and who can check it (`docs/format.md` §8.2).

use serde::{Deserialize, Serialize};

use crate::{
    ids::{ItemId, ManifestId, StoreId, VaultId},
    seal::{RecordError, SIGNATURE_BYTES, Signer, is_signed, put_lp},
};

/// What was erased, by whom, and what that means. Its canonical form is JSON without white space, the
/// fields in the order that they stand in here, which is that of the alphabet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Who asked for it.
    pub by: String,
    /// What the erasure does not reach, sentence by sentence.
    pub excludes: Vec<String>,
    /// Bytes of plaintext of its files.
    pub file_bytes: u64,
    /// Version of this form: 1.
    pub format: u32,
    /// The item.
    pub item: ItemId,
    /// What the item is: `read set`.
    pub kind: String,
    /// Its manifests, which open no more, in whatever copy.
    pub manifests: Vec<ManifestId>,
    /// Number of this receipt.
    pub number: u32,
    /// Why.
    pub reason: String,
    /// What it was to its users: `sequenceStore/ID/readSet/ID`.
    pub resource: String,
    /// Who else has some of its bytes.
    pub shared: Shared,
    /// The shred slot that was destroyed.
    pub slot: u64,
    /// The store, as the key log names it.
    pub store: StoreId,
    /// When it was decided on: RFC 3339, UTC.
    pub time_begun: String,
    /// When it was done; empty before.
    pub time_done: String,
    /// The vault.
    pub vault: VaultId,
}

/// Items that share chunks with what was erased, as they were when it was decided on.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shared {
    /// Chunks that were not looked for, above a limit.
    pub chunks_left_out: u64,
    /// The items, up to a limit.
    pub items: Vec<SharingItem>,
    /// How many more there are.
    pub more: u64,
    /// Files that could not be looked at, as their keys or bytes are unavailable.
    pub unread: u64,
}

/// One of them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharingItem {
    /// The item.
    pub item: ItemId,
    /// What it is: `read set`.
    pub kind: String,
    /// Its store.
    pub store: StoreId,
}

/// A receipt as it is handed out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// The public key, hexadecimal.
    pub key: String,
    /// What was signed.
    pub receipt: Receipt,
    /// The signature, hexadecimal.
    pub signature: String,
}

impl Receipt {
    /// The canonical form.
    ///
    /// # Panics
    /// Never: a receipt serialises.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a receipt serialises to JSON")
    }

    /// What is signed: LP("rv1/receipt") ‖ the canonical form.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        let mut message = Vec::new();
        put_lp(&mut message, b"rv1/receipt");
        message.extend_from_slice(&self.canonical());
        message
    }

    pub(super) fn from_canonical(bytes: &[u8]) -> Result<Self, RecordError> {
        let receipt: Self =
            serde_json::from_slice(bytes).map_err(|_| RecordError::Form("a receipt"))?;
        let canonical = receipt.canonical() == bytes;
        if canonical {
            Ok(receipt)
        } else {
            Err(RecordError::Form("a receipt that is not canonical"))
        }
    }

    pub(super) fn signed_by(&self, signer: &Signer) -> Signed {
        Signed {
            key: hex(&signer.public()),
            receipt: self.clone(),
            signature: hex(&signer.sign(&self.message())),
        }
    }
}

/// Whether `signed` was signed by the vault whose public key is `key`. The key that stands in the receipt
/// itself proves nothing.
#[must_use]
pub fn verify(signed: &Signed, key: &[u8; 32]) -> bool {
    let signature = unhex::<SIGNATURE_BYTES>(&signed.signature);
    signature.is_some_and(|signature| is_signed(key, &signed.receipt.message(), &signature))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}
