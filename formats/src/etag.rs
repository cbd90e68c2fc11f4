//! The hash behind a semantic ETag.

use md5::Md5;
use readvault_inspect_protocol::EtagFamily;
use sha2::{Digest, Sha256, Sha512};

/// A running semantic ETag.
pub(crate) enum EtagHasher {
    Md5(Md5),
    Sha256(Sha256),
    Sha512(Sha512),
}

impl EtagHasher {
    pub(crate) fn new(family: EtagFamily) -> Self {
        match family {
            EtagFamily::MD5up => Self::Md5(Md5::new()),
            EtagFamily::SHA256up => Self::Sha256(Sha256::new()),
            EtagFamily::SHA512up => Self::Sha512(Sha512::new()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> String {
        match self {
            Self::Md5(hasher) => hex::encode(hasher.finalize()),
            Self::Sha256(hasher) => hex::encode(hasher.finalize()),
            Self::Sha512(hasher) => hex::encode(hasher.finalize()),
        }
    }
}
