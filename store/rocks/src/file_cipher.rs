//! The cipher of the catalog's files: AES-256 in counter mode, one key a file.
//!
//! Hides what the files hold; the values in them are sealed besides, and RocksDB's checksums notice
//! damage of the rest. Format of a file: a prefix of 4 KiB (magic ‖ salt ‖ commitment ‖ zeros; of a
//! manifest also, at 512, how much of it is durable), then the file's bytes, each XORed with the
//! keystream of its offset in the file, prefix included.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    cipher::{AES_256, DecryptingKey, DecryptionContext, UnboundCipherKey},
    error::Unspecified,
    iv::FixedLength,
};
use readvault_ambient::{Entropy, random};
use readvault_store::{catalog::row::RowSealer, seal::SecretKey};

/// Bytes before a file's own first byte.
pub(crate) const PREFIX_BYTES: usize = 4096;

const MAGIC: &[u8; 8] = b"RVCATF\x01\n";
const SALT: std::ops::Range<usize> = 8..40;
const COMMITMENT: std::ops::Range<usize> = 40..72;
const BLOCK: usize = 16;

/// Gives each file of one catalog its key.
pub(crate) struct FileKeys {
    sealer: Arc<RowSealer>,
    entropy: Arc<dyn Entropy>,
}

impl FileKeys {
    pub(crate) fn new(sealer: Arc<RowSealer>, entropy: Arc<dyn Entropy>) -> Self {
        Self { sealer, entropy }
    }

    /// Writes the prefix of a new file: a salt never used before, hence a key never used before.
    pub(crate) fn new_prefix(&self, prefix: &mut [u8]) -> Result<(), Unspecified> {
        if prefix.len() != PREFIX_BYTES {
            return Err(Unspecified);
        }
        let salt: [u8; 32] = random(&*self.entropy);
        prefix.fill(0);
        prefix[..8].copy_from_slice(MAGIC);
        prefix[SALT].copy_from_slice(&salt);
        prefix[COMMITMENT].copy_from_slice(&self.sealer.file_commitment(&salt));
        Ok(())
    }

    /// The cipher of the file that begins with `prefix`; refused when that was not made under this
    /// catalog's key or is damaged.
    pub(crate) fn open(&self, prefix: &[u8]) -> Result<FileCipher, Unspecified> {
        if prefix.len() != PREFIX_BYTES || &prefix[..8] != MAGIC {
            return Err(Unspecified);
        }
        let salt: [u8; 32] = prefix[SALT].try_into().map_err(|_| Unspecified)?;
        // The commitment is public: an early exit of the comparison tells nothing.
        if prefix[COMMITMENT] != self.sealer.file_commitment(&salt) {
            return Err(Unspecified);
        }
        FileCipher::new(self.sealer.file_key(&salt).expose())
    }
}

impl fmt::Debug for FileKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileKeys(redacted)")
    }
}

/// The keystream of one file.
pub(crate) struct FileCipher {
    key: DecryptingKey,
}

impl FileCipher {
    fn new(key: &[u8; 32]) -> Result<Self, Unspecified> {
        Ok(Self { key: DecryptingKey::ctr(UnboundCipherKey::new(&AES_256, key)?)? })
    }

    /// Encrypts or decrypts, which is the same, the bytes that stand at `offset` of the file.
    pub(crate) fn apply(&self, offset: u64, data: &mut [u8]) -> Result<(), Unspecified> {
        let block = offset / BLOCK as u64;
        let skipped = (offset % BLOCK as u64) as usize;
        let head = if skipped == 0 { 0 } else { data.len().min(BLOCK - skipped) };
        let (head, body) = data.split_at_mut(head);
        if !head.is_empty() {
            let mut whole = [0; BLOCK];
            whole[skipped..skipped + head.len()].copy_from_slice(head);
            self.run(block, &mut whole)?;
            head.copy_from_slice(&whole[skipped..skipped + head.len()]);
        }
        if body.is_empty() {
            return Ok(());
        }
        self.run(if skipped == 0 { block } else { block + 1 }, body)
    }

    /// The keystream from the start of block `block`: the counter is the block's number,
    /// big-endian.
    fn run(&self, block: u64, data: &mut [u8]) -> Result<(), Unspecified> {
        let counter = FixedLength::from(u128::from(block).to_be_bytes());
        self.key.decrypt(data, DecryptionContext::Iv128(counter)).map(|_| ())
    }
}

impl fmt::Debug for FileCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileCipher(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use readvault_store::seal::CatalogKey;

    /// NIST SP 800-38A, F.5.5 has this key and plaintext; the counter there is not a block number,
    /// so the
    /// first block is compared through ECB: keystream block = AES(counter).
    const KEY: [u8; 32] = [
        0x60, 0x3d, 0xeb, 0x10, 0x15, 0xca, 0x71, 0xbe, 0x2b, 0x73, 0xae, 0xf0, 0x85, 0x7d, 0x77,
        0x81, 0x1f, 0x35, 0x2c, 0x07, 0x3b, 0x61, 0x08, 0xd7, 0x2d, 0x98, 0x10, 0xa3, 0x09, 0x14,
        0xdf, 0xf4,
    ];

    fn keystream(length: usize) -> Vec<u8> {
        use aws_lc_rs::cipher::{EncryptingKey, EncryptionContext};
        let ecb = EncryptingKey::ecb(UnboundCipherKey::new(&AES_256, &KEY).unwrap()).unwrap();
        let mut blocks: Vec<u8> =
            (0..length.div_ceil(BLOCK) as u128).flat_map(u128::to_be_bytes).collect();
        ecb.less_safe_encrypt(&mut blocks, EncryptionContext::None).unwrap();
        blocks.truncate(length);
        blocks
    }

    #[test]
    fn every_offset_and_length_meets_the_same_keystream() {
        let cipher = FileCipher::new(&KEY).unwrap();
        let stream = keystream(200);
        for offset in 0..100 {
            for length in 0..100 {
                let mut data = vec![0; length];
                cipher.apply(offset as u64, &mut data).unwrap();
                assert_eq!(data, stream[offset..offset + length], "{offset}+{length}");
            }
        }
        // Counters beyond 32 bits go on counting.
        let far = (1_u64 << 36) - 8;
        let (mut one, mut two) = (vec![0; 40], vec![0; 40]);
        cipher.apply(far, &mut one).unwrap();
        two.chunks_mut(1).enumerate().for_each(|(at, byte)| {
            cipher.apply(far + at as u64, byte).unwrap();
        });
        assert_eq!(one, two);
    }

    #[test]
    fn a_prefix_opens_under_its_own_key_only() {
        let keys = |byte| {
            let sealer = RowSealer::new(CatalogKey::from_bytes(&[byte; 32]));
            FileKeys::new(Arc::new(sealer), Arc::new(readvault_ambient::System))
        };
        let mut prefix = vec![0; PREFIX_BYTES];
        keys(1).new_prefix(&mut prefix).unwrap();
        assert!(keys(1).open(&prefix).is_ok());
        assert!(keys(2).open(&prefix).is_err());
        assert!(keys(1).open(&prefix[..72]).is_err());
        for byte in 0..72 {
            let mut bad = prefix.clone();
            bad[byte] ^= 1;
            assert!(keys(1).open(&bad).is_err());
        }
        let mut other = vec![0; PREFIX_BYTES];
        keys(1).new_prefix(&mut other).unwrap();
        assert_ne!(prefix[SALT], other[SALT]);
    }
}
