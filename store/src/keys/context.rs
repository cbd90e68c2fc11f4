//! What a wrapped key is bound to.

use crate::{
    ids::{StoreId, VaultId},
    seal::put_lp,
};

/// What a wrapped key is for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Purpose {
    /// VK.
    Vault,
    /// CATK.
    Catalog,
    /// SK of one store.
    Store {
        /// The account that owns the store.
        account: String,
        /// The store.
        store: StoreId,
    },
}

/// The encryption context of a wrapped key: a key provider must refuse to unwrap it in any other.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Context {
    /// The vault.
    pub vault: VaultId,
    /// What the key is for.
    pub purpose: Purpose,
}

impl Context {
    /// The pairs, ascending by name, as a key management service takes them.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let vault = ("rv:vault", self.vault.to_string());
        let version = ("rv:v", "1".to_owned());
        match &self.purpose {
            Purpose::Vault => vec![("rv:purpose", "vault".into()), version, vault],
            Purpose::Catalog => vec![("rv:purpose", "catalog".into()), version, vault],
            Purpose::Store { account, store } => vec![
                ("rv:account", account.clone()),
                ("rv:purpose", "store".into()),
                ("rv:store", store.to_string()),
                version,
                vault,
            ],
        }
    }

    /// The canonical bytes: u32 count, then LP(name) LP(value) of each pair, ascending by name.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let pairs = self.pairs();
        let count = u32::try_from(pairs.len()).expect("there are at most five pairs");
        let mut out = count.to_le_bytes().to_vec();
        for (name, value) in pairs {
            put_lp(&mut out, name.as_bytes());
            put_lp(&mut out, value.as_bytes());
        }
        out
    }
}
