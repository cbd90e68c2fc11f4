//! Checksums that S3 knows, as values: their names, lengths, text and combination.

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use crc_fast::CrcAlgorithm;
use serde::{Deserialize, Serialize};

use crate::{Fault, FaultKind, fault::Result};

/// A checksum algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// CRC-32 of ISO 3309.
    #[serde(rename = "CRC32")]
    Crc32,
    /// CRC-32C (Castagnoli).
    #[serde(rename = "CRC32C")]
    Crc32c,
    /// CRC-64/NVME.
    #[serde(rename = "CRC64NVME")]
    Crc64Nvme,
    /// SHA-1.
    #[serde(rename = "SHA1")]
    Sha1,
    /// SHA-256.
    #[serde(rename = "SHA256")]
    Sha256,
    /// SHA-512.
    #[serde(rename = "SHA512")]
    Sha512,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 6] =
        [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256, Self::Sha512];

    /// Its name in S3.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }

    /// The algorithm of this name, whatever its case.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// Length of its value in bytes.
    #[must_use]
    pub fn length(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// Whether the checksum of a whole can be made of those of its pieces.
    #[must_use]
    pub fn combines(self) -> bool {
        self.crc().is_some()
    }

    /// The digest of `bytes`.
    #[must_use]
    pub fn of(self, bytes: &[u8]) -> Checksum {
        let mut hasher = Hasher::new(self);
        hasher.update(bytes);
        hasher.finish()
    }

    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 | Self::Sha512 => None,
        }
    }
}

/// A checksum: an algorithm and a value of its length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "(Algorithm, String)", try_from = "(Algorithm, String)")]
pub struct Checksum {
    algorithm: Algorithm,
    value: Vec<u8>,
}

impl Checksum {
    /// The checksum that `text` writes in base64.
    ///
    /// # Errors
    /// `InvalidDigest` when it is not base64 of the algorithm's length.
    pub fn parse(algorithm: Algorithm, text: &str) -> Result<Self> {
        let value = BASE64.decode(text).ok().filter(|value| value.len() == algorithm.length());
        let value = value.ok_or_else(|| {
            let message = format!("the {} checksum is not of a legal form", algorithm.name());
            Fault::new(FaultKind::InvalidDigest, message)
        })?;
        Ok(Self { algorithm, value })
    }

    /// Its algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// Its value in base64, as S3 writes it.
    #[must_use]
    pub fn text(&self) -> String {
        BASE64.encode(&self.value)
    }
}

impl From<Checksum> for (Algorithm, String) {
    fn from(checksum: Checksum) -> Self {
        (checksum.algorithm, checksum.text())
    }
}

impl TryFrom<(Algorithm, String)> for Checksum {
    type Error = Fault;

    fn try_from((algorithm, text): (Algorithm, String)) -> Result<Self> {
        Self::parse(algorithm, &text)
    }
}

/// Computes one checksum.
pub(super) enum Hasher {
    Crc(Algorithm, Box<crc_fast::Digest>),
    Sha(Algorithm, digest::Context),
}

impl Hasher {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        let sha = match algorithm {
            Algorithm::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Algorithm::Sha512 => &digest::SHA512,
            _ => &digest::SHA256,
        };
        match algorithm.crc() {
            Some(crc) => Self::Crc(algorithm, Box::new(crc_fast::Digest::new(crc))),
            None => Self::Sha(algorithm, digest::Context::new(sha)),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(_, digest) => digest.update(bytes),
            Self::Sha(_, context) => context.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Checksum {
        match self {
            Self::Crc(algorithm, digest) => crc_value(algorithm, digest.finalize()),
            Self::Sha(algorithm, context) => {
                Checksum { algorithm, value: context.finish().as_ref().to_vec() }
            }
        }
    }
}

/// The checksum of a whole from those of its pieces, each with its length in bytes; none when the
/// algorithm can't, or a piece is of another algorithm.
#[must_use]
pub fn combine(algorithm: Algorithm, pieces: &[(Checksum, u64)]) -> Option<Checksum> {
    let crc = algorithm.crc()?;
    let mut whole = crc_fast::Digest::new(crc).finalize();
    for (piece, length) in pieces {
        if piece.algorithm != algorithm {
            return None;
        }
        whole = crc_fast::checksum_combine(crc, whole, number(&piece.value), *length);
    }
    Some(crc_value(algorithm, whole))
}

/// The COMPOSITE checksum of an upload: the digest of its parts' digests, without the `-N`.
#[must_use]
pub fn composite(algorithm: Algorithm, parts: &[Checksum]) -> Option<Checksum> {
    let mut hasher = Hasher::new(algorithm);
    for part in parts {
        if part.algorithm != algorithm {
            return None;
        }
        hasher.update(&part.value);
    }
    Some(hasher.finish())
}

fn crc_value(algorithm: Algorithm, value: u64) -> Checksum {
    let bytes = value.to_be_bytes();
    Checksum { algorithm, value: bytes[8 - algorithm.length()..].to_vec() }
}

fn number(value: &[u8]) -> u64 {
    value.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values_are_those_of_the_catalogues() {
        let check = |algorithm: Algorithm| hex::encode(algorithm.of(b"123456789").value());
        assert_eq!(check(Algorithm::Crc32), "cbf43926");
        assert_eq!(check(Algorithm::Crc32c), "e3069283");
        assert_eq!(check(Algorithm::Crc64Nvme), "ae8b14860a799888");
        assert_eq!(check(Algorithm::Sha1), "f7c3bc1d808e04732adf679965ccc34ca7ae3441");
        assert_eq!(
            check(Algorithm::Sha256),
            "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"
        );
    }

    #[test]
    fn crcs_of_pieces_combine_to_that_of_the_whole() {
        let bytes: Vec<u8> = (0..100_003_u32).map(|n| (n * 7 + n / 251) as u8).collect();
        for algorithm in Algorithm::ALL {
            let cuts = [0, 1, 1, 4096, 70_000, bytes.len()];
            let pieces: Vec<(Checksum, u64)> = cuts
                .windows(2)
                .map(|cut| &bytes[cut[0]..cut[1]])
                .map(|piece| (algorithm.of(piece), piece.len() as u64))
                .collect();
            let whole = combine(algorithm, &pieces);
            assert_eq!(whole, algorithm.combines().then(|| algorithm.of(&bytes)), "{algorithm:?}");
        }
        assert_eq!(combine(Algorithm::Crc32, &[(Algorithm::Crc32c.of(b"x"), 1)]), None);
    }

    #[test]
    fn text_of_the_wrong_length_is_refused() {
        for algorithm in Algorithm::ALL {
            let good = algorithm.of(b"x");
            assert_eq!(Checksum::parse(algorithm, &good.text()).unwrap(), good);
            for bad in ["", "AA", "****", &good.text()[1..], &format!("AAAA{}", good.text())] {
                let fault = Checksum::parse(algorithm, bad).unwrap_err();
                assert_eq!(fault.kind, FaultKind::InvalidDigest);
            }
        }
    }
}
