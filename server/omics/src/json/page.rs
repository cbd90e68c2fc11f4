//! Pages of lists: how many, and where the next begins.
//!
//! A token is base64url of a 16-byte keyed BLAKE3 and the position, so nobody can write one; the
//! hash also covers the caller, the operation and the filter, so that it serves no other list.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use readvault_ambient::random;
use readvault_ops::{
    core::{Core, Stored, encode, row_of},
    identity::Caller,
    tables,
};
use readvault_store::catalog::Commit;
use tokio::sync::OnceCell;

use super::Query;
use crate::error::ApiError;

/// Items of a page unless the caller says otherwise.
const PAGE_DEFAULT: u64 = 100;
/// Characters of a token that are looked at.
const TOKEN_CHARS_MAX: usize = 6144;
const MAC_BYTES: usize = 16;

/// The page that a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PageAsk {
    /// At most so many items.
    pub(crate) limit: usize,
    /// The token as it came.
    pub(crate) token: Option<String>,
}

impl PageAsk {
    /// The page of a storage list: `nextToken` and `maxResults`, 1 to 100.
    ///
    /// # Errors
    /// `ValidationException`.
    pub(crate) fn storage(query: &Query) -> Result<Self, ApiError> {
        Self::named(query, "nextToken", ("maxResults", 100))
    }

    /// The page whose token is called `token` and whose size is called `limit.0`, 1 to `limit.1`.
    ///
    /// # Errors
    /// `ValidationException`.
    pub(crate) fn named(query: &Query, token: &str, limit: (&str, u64)) -> Result<Self, ApiError> {
        let (name, most) = limit;
        let count = query.number(name, 1..=most)?.unwrap_or(PAGE_DEFAULT.min(most));
        let token = query.one(token)?.map(ToOwned::to_owned);
        Ok(Self { limit: usize::try_from(count).unwrap_or(1), token })
    }
}

/// Makes and reads tokens. Their key is a row, so that they hold across restarts.
#[derive(Clone, Debug)]
pub(crate) struct PageTokens {
    core: Core,
    key: Arc<OnceCell<Key>>,
}

#[derive(Clone)]
struct Key([u8; 32]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

impl PageTokens {
    pub(crate) fn new(core: Core) -> Self {
        Self { core, key: Arc::default() }
    }

    /// The position that `ask` goes on from, when its token was made for this caller and `list`
    /// (operation and filter).
    ///
    /// # Errors
    /// `ValidationException` for any other token.
    pub(crate) async fn read(
        &self,
        ask: &PageAsk,
        caller: &Caller,
        list: &str,
    ) -> Result<Option<Vec<u8>>, ApiError> {
        let Some(token) = &ask.token else { return Ok(None) };
        let wrong = || ApiError::validation("the token is not of this list");
        if token.len() > TOKEN_CHARS_MAX {
            return Err(wrong());
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| wrong())?;
        let (mac, position) = bytes.split_at_checked(MAC_BYTES).ok_or_else(wrong)?;
        let right = self.mac(caller, list, position).await?;
        if !bool::from(subtle::ConstantTimeEq::ct_eq(mac, &right[..])) {
            return Err(wrong());
        }
        Ok(Some(position.into()))
    }

    /// The token for `position` of `list`.
    ///
    /// # Errors
    /// Those of the catalog.
    pub(crate) async fn write(
        &self,
        position: &[u8],
        caller: &Caller,
        list: &str,
    ) -> Result<String, ApiError> {
        let mut bytes = self.mac(caller, list, position).await?.to_vec();
        bytes.extend_from_slice(position);
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    async fn mac(
        &self,
        caller: &Caller,
        list: &str,
        position: &[u8],
    ) -> Result<[u8; MAC_BYTES], ApiError> {
        let key = self.key.get_or_try_init(|| self.load_key()).await?;
        let mut hasher = blake3::Hasher::new_keyed(&key.0);
        let who = caller.arn(self.core.site());
        for part in [who.as_bytes(), list.as_bytes()] {
            hasher.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hasher.update(part);
        }
        hasher.update(position);
        let mut mac = [0; MAC_BYTES];
        hasher.finalize_xof().fill(&mut mac);
        Ok(mac)
    }

    async fn load_key(&self) -> Result<Key, ApiError> {
        let row = row_of(tables::TOKENS, &["page-token-key"]);
        loop {
            let stored: Option<Stored<[u8; 32]>> = self.core.load(&row).await?;
            if let Some(stored) = stored {
                return Ok(Key(stored.value));
            }
            let key: [u8; 32] = random(self.core.entropy());
            let mut commit = Commit::new();
            commit.absent(row.clone()).put(row.clone(), encode(&key));
            self.core.commit(commit).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use readvault_ambient::System;
    use readvault_ops::core::Site;

    use super::*;

    async fn tokens() -> PageTokens {
        let site = Site { account: "123456789012".into(), region: "us-east-1".into() };
        let vault = readvault_store::testing::vault().await;
        PageTokens::new(Core::new(vault, site, Arc::new(System), Arc::new(System)))
    }

    fn ask(token: &str) -> PageAsk {
        PageAsk { limit: 1, token: Some(token.into()) }
    }

    #[tokio::test]
    async fn a_token_serves_its_own_list_and_caller_only() {
        let tokens = tokens().await;
        let caller = Caller::anonymous();
        let token = tokens.write(b"position", &caller, "list a").await.expect("a token");
        let read = tokens.read(&ask(&token), &caller, "list a").await.expect("its own");
        assert_eq!(read.as_deref(), Some(b"position".as_slice()));
        assert!(tokens.read(&ask(&token), &caller, "list b").await.is_err());
        let root = Caller { principal: readvault_ops::identity::Principal::Root, ..caller.clone() };
        assert!(tokens.read(&ask(&token), &root, "list a").await.is_err());
        let after_restart = PageTokens::new(tokens.core.clone());
        assert!(after_restart.read(&ask(&token), &caller, "list a").await.is_ok());
    }

    #[tokio::test]
    async fn no_changed_token_is_taken() {
        let tokens = tokens().await;
        let caller = Caller::anonymous();
        let token = tokens.write(b"position", &caller, "list").await.expect("a token");
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'Q' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            assert!(tokens.read(&ask(&changed), &caller, "list").await.is_err(), "{at}");
        }
        for bad in ["", "AAAA", "not base64!", &"A".repeat(10_000)] {
            assert!(tokens.read(&ask(bad), &caller, "list").await.is_err());
        }
    }
}
