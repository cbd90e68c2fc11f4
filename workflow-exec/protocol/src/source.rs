//! Where a run's input bytes come from.

use async_trait::async_trait;
use bytes::Bytes;

use crate::run::RunSpec;

/// Why a run's bytes are not given.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The run's token, role or permit is no longer good: the run must end.
    #[error("the run may no longer read: {0}")]
    Revoked(String),
    /// The range or input does not exist.
    #[error("no such range: {0}")]
    Invalid(String),
    /// May succeed later.
    #[error("the bytes are not at hand: {0}")]
    Unavailable(String),
}

/// Authorised plaintext of one run's recorded inputs: no keys, no paths, no listing.
#[async_trait]
pub trait ReadSetSource: Send + Sync {
    /// The run that `token` opens; a token of a finished or superseded run opens nothing.
    async fn open(&self, token: &str) -> Result<RunSpec, SourceError>;

    /// Exactly `length` bytes of the definition zip from `offset`, fewer only at its end.
    async fn definition(&self, token: &str, offset: u64, length: u32)
    -> Result<Bytes, SourceError>;

    /// Exactly `length` bytes of input `input` from `offset`, fewer only at its end.
    async fn read(
        &self,
        token: &str,
        input: u32,
        offset: u64,
        length: u32,
    ) -> Result<Bytes, SourceError>;
}
