//! The writer's row: who may write, and which commit was the last.
//!
//! `u64 fence ‖ holder (16) ‖ u64 last version`, sealed like any row. Every group of commits finds the row
//! byte for byte as it left it, and replaces it; a server that opens the database puts its own name there,
//! after which no group of the former holder can commit. As a salt goes into every sealing, equal bytes
//! mean that nobody wrote in between.

use readvault_ambient::Entropy;
use readvault_store::{
    Error, Result,
    catalog::{Table, row::TableSealer},
};

/// The table that the row is sealed to.
pub(crate) const WRITER: Table = Table("rv.writer");
/// The row's key.
pub(crate) const WRITER_KEY: &[u8] = b"writer";

/// The opened row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fence {
    /// Raised whenever a connection takes the right to write.
    pub(crate) number: u64,
    /// Drawn by each server at its start.
    pub(crate) holder: [u8; 16],
    /// Version of the last commit.
    pub(crate) last: u64,
}

impl Fence {
    pub(crate) fn seal(&self, sealer: &TableSealer, entropy: &dyn Entropy) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(32);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.holder);
        bytes.extend_from_slice(&self.last.to_le_bytes());
        sealer.seal(WRITER_KEY, self.last, &bytes, entropy)
    }

    pub(crate) fn open(sealer: &TableSealer, sealed: &[u8]) -> Result<Self> {
        let (bytes, last) = sealer.open(WRITER_KEY, sealed)?;
        let fields: &[u8; 32] =
            bytes[..].try_into().map_err(|_| Error::corrupt("the writer's row"))?;
        let (number, rest) = fields.split_first_chunk::<8>().expect("32 bytes hold 8");
        let holder = rest.first_chunk::<16>().expect("24 bytes hold 16");
        Ok(Self { number: u64::from_le_bytes(*number), holder: *holder, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use readvault_ambient::System;
    use readvault_store::{
        catalog::row::RowSealer,
        seal::{CatalogKey, SecretKey},
    };

    #[test]
    fn a_row_comes_back_and_never_looks_the_same() {
        let sealer = RowSealer::new(CatalogKey::from_bytes(&[1; 32])).table(WRITER);
        let fence = Fence { number: 7, holder: [3; 16], last: 9 };
        let (first, second) = (fence.seal(&sealer, &System), fence.seal(&sealer, &System));
        assert_ne!(first, second);
        assert_eq!(Fence::open(&sealer, &first).unwrap(), fence);
        let other = RowSealer::new(CatalogKey::from_bytes(&[2; 32])).table(WRITER);
        assert!(Fence::open(&other, &first).is_err());
    }
}
