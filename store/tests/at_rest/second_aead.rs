//! A second AES-GCM implementation opens every record type.

use crate::{hostile::read_all, sample::Sample};
use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use readvault_store::{
    ErrorKind,
    keys::ItemContext,
    seal::{DataKey, SecretKey, expand, put_lp, sha256},
};

const FRAME: usize = 65_536 + 16;

/// Where in a manifest's header its commitment begins.
const COMMITMENT: usize = 29;

fn open(key: &DataKey, nonce: [u8; 12], aad: &[u8], text: &[u8]) -> Vec<u8> {
    let cipher = Aes256Gcm::new(key.expose().into());
    cipher.decrypt(&nonce.into(), Payload { msg: text, aad }).unwrap()
}

fn seal(key: &DataKey, nonce: [u8; 12], aad: &[u8], text: &[u8]) -> Vec<u8> {
    let cipher = Aes256Gcm::new(key.expose().into());
    cipher.encrypt(&nonce.into(), Payload { msg: text, aad }).unwrap()
}

fn seal_salted(key: &impl SecretKey, label: &str, aad: &[u8], text: &[u8]) -> Vec<u8> {
    const SALT: [u8; 16] = [5; 16];
    let key: DataKey = expand(key, label, &[&SALT]);
    [&SALT[..], &seal(&key, [0; 12], aad, text)].concat()
}

fn open_salted(key: &impl SecretKey, label: &str, aad: &[u8], sealed: &[u8]) -> Vec<u8> {
    let key: DataKey = expand(key, label, &[&sealed[..16]]);
    open(&key, [0; 12], aad, &sealed[16..])
}

fn open_frames(key: &DataKey, prefix: &[u8], aad: &[u8; 32], sealed: &[u8]) -> Vec<u8> {
    let count = sealed.len().div_ceil(FRAME);
    let frames = sealed.chunks(FRAME).enumerate().flat_map(|(index, frame)| {
        open(key, nonce(prefix, index as u32, index + 1 == count), aad, frame)
    });
    frames.collect()
}

fn nonce(prefix: &[u8], index: u32, last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..7].copy_from_slice(prefix);
    nonce[7..11].copy_from_slice(&index.to_be_bytes());
    nonce[11] = u8::from(last);
    nonce
}

#[test]
fn opens_chunks() {
    let sample = Sample::new(20);
    for length in [1, 5000, 70_000, 262_144] {
        let body = Sample::body(length);
        let (entry, sealed) = sample.chunk(&body);
        let key: DataKey = expand(&entry.key, "chunk-enc", &[]);
        let (header, rest) = sealed.record().split_at(86);
        let prefix = &header[75..82];
        let payload = open_frames(&key, prefix, &sha256(&[header]), &rest[..rest.len() - 4]);
        assert_eq!(payload[..length], body[..]);
    }
}

#[test]
fn opens_manifests() {
    let sample = Sample::new(21);
    let (manifest, _) = sample.manifest(&[Sample::body(70_000)]);
    let record = manifest.record();
    let (header, rest) = record.split_at(72);
    let bound_to = sha256(&[header]);
    let (id, rest) = take_lp(rest);
    let (key_block, rest) = take_lp(rest);
    let id = open_salted(&*sample.vault_key, "id-block", &bound_to, id);
    let key_block = open_salted(&*sample.vault_key, "key-block", &bound_to, key_block);
    assert!(key_block.ends_with(&sample.wrapped_seed));
    let root: DataKey = expand(&sample.item_key, "manifest", &[&header[5..21]]);
    let key: DataKey = expand(&root, "manifest-enc", &[]);
    let aad = sha256(&[header, &id]);
    let body = open_frames(&key, &header[61..68], &aad, &rest[..rest.len() - 4]);
    assert_eq!(u64::from_le_bytes(body[7..15].try_into().unwrap()), 70_000);
}

/// A head whose blocks are sealed as they must be, in front of a body that would open under the item's key:
/// what it commits to is another key all the same.
#[test]
fn a_manifest_that_commits_to_another_key_is_refused() {
    let sample = Sample::new(23);
    let record = sample.inline(&Sample::body(300)).record().to_vec();
    let opened = |record: &[u8]| read_all(record, &sample, &sample.item_key).map(drop);
    opened(&record).unwrap();
    let (header, rest) = record.split_at(72);
    let (old, mut header) = (sha256(&[header]), header.to_vec());
    header[COMMITMENT] ^= 1;
    let sum = crc32c::crc32c(&header[..68]).to_le_bytes();
    header[68..].copy_from_slice(&sum);
    let (id, rest) = take_lp(rest);
    let (key_block, rest) = take_lp(rest);
    let id = open_salted(&*sample.vault_key, "id-block", &old, id);
    let key_block = open_salted(&*sample.vault_key, "key-block", &old, key_block);
    let root: DataKey = expand(&sample.item_key, "manifest", &[&header[5..21]]);
    let key: DataKey = expand(&root, "manifest-enc", &[]);
    let (prefix, frames) = (&header[61..68], &rest[..rest.len() - 4]);
    let body = open_frames(&key, prefix, &sha256(&[&record[..72], &id]), frames);
    let new = sha256(&[&header]);
    let mut forged = header.clone();
    put_lp(&mut forged, &seal_salted(&*sample.vault_key, "id-block", &new, &id));
    put_lp(&mut forged, &seal_salted(&*sample.vault_key, "key-block", &new, &key_block));
    forged.extend(seal(&key, nonce(prefix, 0, true), &sha256(&[&header, &id]), &body));
    forged.extend(crc32c::crc32c(&forged).to_le_bytes());
    assert_eq!(opened(&forged).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn opens_batch_indexes_and_wrapped_seeds() {
    let sample = Sample::new(22);
    let (pack, extents) = sample.pack();
    let end = extents[2].offset as usize + extents[2].length as usize;
    let index = &pack[end..];
    let length = u32::from_le_bytes(index[9..13].try_into().unwrap()) as usize;
    let aad = [&pack[5..21], &index[5..9]].concat();
    let plain = open_salted(&*sample.vault_key, "batch-index", &aad, &index[17..17 + length]);
    assert_eq!(plain[..16], pack[21..37], "the index names the pack's writer");
    let context: &ItemContext = &sample.context;
    let seed = open_salted(&sample.store_key, "item-seed", &context.encode(), &sample.wrapped_seed);
    assert_eq!(seed.len(), 32);
}

fn take_lp(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (length, rest) = bytes.split_first_chunk().unwrap();
    rest.split_at(u32::from_le_bytes(*length) as usize)
}
