//! Requests that may be sent twice: the second gets the answer of the first.
//!
//! The token is kept in the commit of what it made, with a digest of the request and the answer.
//! Tokens are kept for good: no sweep removes them yet.

use readvault_store::catalog::{Commit, RowKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Fault, FaultKind,
    core::{Core, encode, row_of},
    fault::Result,
    tables,
};

/// One request that its client may repeat.
#[derive(Clone, Debug)]
pub struct Once {
    row: Option<RowKey>,
    digest: String,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    digest: String,
    answer: serde_json::Value,
    made_ms: u64,
}

impl Once {
    /// The request `request` of `operation` under `token`; without a token every request is a new
    /// one.
    pub fn new<T: Serialize>(operation: &str, token: Option<&str>, request: &T) -> Self {
        let text = serde_json::to_vec(request).expect("request types serialise to JSON");
        Self {
            row: token.map(|token| row_of(tables::TOKENS, &["once", operation, token])),
            digest: blake3::hash(&text).to_hex().to_string(),
        }
    }

    /// The answer that this request got before, if it did.
    ///
    /// # Errors
    /// `Conflict` when the token came with another request.
    pub async fn earlier<T: DeserializeOwned>(&self, core: &Core) -> Result<Option<T>> {
        let Some(row) = &self.row else { return Ok(None) };
        let Some(kept) = core.load::<Kept>(row).await? else { return Ok(None) };
        if kept.value.digest != self.digest {
            return Err(Fault::new(
                FaultKind::Conflict,
                "this token was used with a different request",
            ));
        }
        serde_json::from_value(kept.value.answer)
            .map(Some)
            .map_err(|cause| Fault::new(FaultKind::Corrupt, "a row is malformed").because(cause))
    }

    /// Adds to `commit` that this request, and no other under its token, got `answer`.
    pub fn keep<T: Serialize>(&self, core: &Core, commit: &mut Commit, answer: &T) {
        let Some(row) = &self.row else { return };
        let kept = Kept {
            digest: self.digest.clone(),
            answer: serde_json::to_value(answer).expect("answer types serialise to JSON"),
            made_ms: core.now_ms(),
        };
        commit.absent(row.clone()).put(row.clone(), encode(&kept));
    }
}
