//! Values at rest, and the keys of the catalog's files.
//!
//! A value is `u8 format ‖ u64 commit version ‖ salt16 ‖ AEAD(value)`; its key and its associated
//! data
//! name the table, the row and the commit, so that no value can be edited, moved to another row or
//! table, or given another version. Used by the backends only; spec: `docs/format.md`, catalog
//! rows.

use std::fmt;

use bytes::Bytes;
use readvault_ambient::Entropy;

use super::Table;
use crate::{
    Error, Result,
    seal::{
        CatalogKey, KeyEncryptionKey, SALTED_OVERHEAD, SaltedKey, expand, expand_public, lp, put_lp,
    },
};

/// Format byte of a sealed value.
const FORMAT: u8 = 1;
/// Version of the table layout; part of the associated data of every value.
const SCHEMA: u16 = 1;
const HEADER_BYTES: usize = 1 + 8;

/// Bytes that sealing adds to a value.
pub const SEALED_OVERHEAD: usize = HEADER_BYTES + SALTED_OVERHEAD;

/// Seals and opens the values of one catalog, and derives the keys of its files.
///
/// Holds the catalog key (CATK); wiped when dropped; neither `Clone` nor printable.
pub struct RowSealer {
    catalog: CatalogKey,
}

impl RowSealer {
    /// A sealer under the catalog key.
    #[must_use]
    pub fn new(catalog: CatalogKey) -> Self {
        Self { catalog }
    }

    /// The sealer of one table; its key is derived once.
    #[must_use]
    pub fn table(&self, table: Table) -> TableSealer {
        let name = lp(table.0.as_bytes());
        let key: KeyEncryptionKey = expand(&self.catalog, "catalog", &[&name]);
        TableSealer { key: SaltedKey::new(&key, "row"), name }
    }

    /// The key of a file of the catalog whose prefix holds `salt`.
    #[must_use]
    pub fn file_key(&self, salt: &[u8; 32]) -> KeyEncryptionKey {
        expand(&self.catalog, "catalog-file", &[salt])
    }

    /// What the prefix of a file stores beside its salt, so that a wrong catalog key and a damaged
    /// prefix are noticed before a byte of the file is believed.
    #[must_use]
    pub fn file_commitment(&self, salt: &[u8; 32]) -> [u8; 32] {
        expand_public(&self.file_key(salt), "catalog-file-com", &[])
    }
}

impl fmt::Debug for RowSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RowSealer(redacted)")
    }
}

/// Seals and opens the values of one table. Wiped when dropped.
pub struct TableSealer {
    key: SaltedKey,
    name: Vec<u8>,
}

impl TableSealer {
    /// Seals `value` as the value of row `key`, written by the commit `version`.
    ///
    /// The salt, and with it the AEAD key, is drawn anew at every call, so each key seals once.
    #[must_use]
    pub fn seal(&self, key: &[u8], version: u64, value: &[u8], entropy: &dyn Entropy) -> Vec<u8> {
        let aad = self.associated_data(key, version);
        let body = self.key.seal(&aad, value, entropy);
        let mut sealed = Vec::with_capacity(HEADER_BYTES + body.len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&version.to_le_bytes());
        sealed.extend_from_slice(&body);
        sealed
    }

    /// Opens what [`TableSealer::seal`] made for row `key`: the value and its commit's version.
    ///
    /// # Errors
    /// `Corrupt` when the value was edited, cut, made for another row or table, or under another
    /// key.
    pub fn open(&self, key: &[u8], sealed: &[u8]) -> Result<(Bytes, u64)> {
        let (format, rest) =
            sealed.split_first().ok_or_else(|| Error::corrupt("a catalog value is empty"))?;
        if *format != FORMAT {
            return Err(Error::corrupt("a catalog value has an unknown format"));
        }
        let (version, body) = rest
            .split_first_chunk::<8>()
            .ok_or_else(|| Error::corrupt("a catalog value is too short"))?;
        let version = u64::from_le_bytes(*version);
        let aad = self.associated_data(key, version);
        let mut value = self.key.open(&aad, body).map_err(|cause| {
            Error::corrupt("a catalog value does not open under its key").because(cause)
        })?;
        Ok((Bytes::from(std::mem::take(&mut *value)), version))
    }

    fn associated_data(&self, key: &[u8], version: u64) -> Vec<u8> {
        let mut data = Vec::with_capacity(2 + 8 + self.name.len() + 4 + key.len());
        data.extend_from_slice(&SCHEMA.to_le_bytes());
        data.extend_from_slice(&version.to_le_bytes());
        data.extend_from_slice(&self.name);
        put_lp(&mut data, key);
        data
    }
}

impl fmt::Debug for TableSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TableSealer(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, seal::SecretKey};
    use readvault_ambient::System;

    const TABLE: Table = Table("objects");

    fn sealer() -> RowSealer {
        RowSealer::new(CatalogKey::from_bytes(&[7; 32]))
    }

    fn refused(result: Result<(Bytes, u64)>) {
        assert_eq!(result.expect_err("must be refused").kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_value_opens_under_its_own_key_only() {
        let table = sealer().table(TABLE);
        for value in [&b""[..], b"x", &[9; 5000]] {
            let sealed = table.seal(b"row", 42, value, &System);
            assert_eq!(sealed.len(), value.len() + SEALED_OVERHEAD);
            let (opened, version) = table.open(b"row", &sealed).expect("opens");
            assert_eq!((&opened[..], version), (value, 42));
            refused(table.open(b"rov", &sealed));
            refused(table.open(b"row\0", &sealed));
            refused(sealer().table(Table("object")).open(b"row", &sealed));
            refused(
                RowSealer::new(CatalogKey::from_bytes(&[8; 32])).table(TABLE).open(b"row", &sealed),
            );
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let table = sealer().table(TABLE);
        let sealed = table.seal(b"row", 42, b"value", &System);
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            refused(table.open(b"row", &bad));
        }
        for length in 0..sealed.len() {
            refused(table.open(b"row", &sealed[..length]));
        }
        let longer = [&sealed[..], b"\0"].concat();
        refused(table.open(b"row", &longer));
    }

    #[test]
    fn every_sealing_draws_a_salt() {
        let table = sealer().table(TABLE);
        let first = table.seal(b"row", 1, b"value", &System);
        let second = table.seal(b"row", 1, b"value", &System);
        assert_ne!(first[9..25], second[9..25]);
        assert_ne!(first[25..], second[25..]);
    }

    #[test]
    fn the_derivation_is_the_one_of_the_format() {
        // Computed with HMAC by hand: one block of HKDF-Expand is HMAC(key, info ‖ 01).
        let salt = [3; 32];
        let mut info = Vec::new();
        info.extend_from_slice(&16_u32.to_le_bytes());
        info.extend_from_slice(b"rv1/catalog-file");
        info.extend_from_slice(&salt);
        info.push(1);
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &[7; 32]);
        let expected = aws_lc_rs::hmac::sign(&key, &info);
        assert_eq!(&sealer().file_key(&salt).expose()[..], expected.as_ref());
    }

    #[test]
    fn nothing_is_printed() {
        assert_eq!(format!("{:?}", sealer()), "RowSealer(redacted)");
        assert_eq!(format!("{:?}", sealer().table(TABLE)), "TableSealer(redacted)");
    }
}
