//! The keys of a vault: made, kept in the log, opened, and closed again in time.

use std::{path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use readvault_ambient::{Clock, Entropy};

use super::{
    Context, DomainEntry, KeyEntry, KeyLog, KeyProvider, Purpose, ShredSlots, StoreEntry,
    WrappedKey,
    log::is_there,
    open_keys::{OpenKeys, OpenStore, Standing},
};
use crate::{
    Error, ErrorKind, Result,
    chunk::{ChunkSize, DomainKeys},
    disk::{Disk, LocalDisk},
    ids::{DomainId, StoreId, VaultId},
    seal::{
        CatalogKey, DomainSecret, Salted, SecretKey, StoreKey, VaultKey, open_salted, put_lp,
        seal_salted,
    },
    usage::Usage,
    vault::{DomainChoice, Store},
};

/// Epoch of a new store's key.
const FIRST_EPOCH: u32 = 1;

/// What [`VaultKeys::open`] needs.
#[derive(Clone, Debug)]
pub struct VaultKeysParams {
    /// The directory of `keys.log`, `keys.log.copy`, `shred.slots` and `shred.slots.copy`.
    pub directory: PathBuf,
    /// Who wraps keys.
    pub provider: Arc<dyn KeyProvider>,
    /// Tells when keys must be asked for again.
    pub clock: Arc<dyn Clock>,
    /// Where keys come from.
    pub entropy: Arc<dyn Entropy>,
}

/// The keys of one vault.
///
/// A store's key, and all that was opened with it, serves only while its master key has answered
/// within the last 60 s; so a reader that keeps an item key must call [`VaultKeys::check`] as it
/// goes on. Caches are bounded and wiped.
#[derive(Debug)]
pub struct VaultKeys {
    vault: VaultId,
    vault_key: Arc<VaultKey>,
    catalog_key: Arc<CatalogKey>,
    pub(super) provider: Arc<dyn KeyProvider>,
    clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    disk: Arc<dyn Disk>,
    pub(super) log: Arc<Mutex<KeyLog>>,
    pub(super) slots: Arc<ShredSlots>,
    pub(super) open: Mutex<OpenKeys>,
    /// Held while a master key is asked, so that many who wait make one call.
    asking: tokio::sync::Mutex<()>,
    /// Held while a store is made: two may not append for one domain at once, and none while keys are
    /// wrapped again.
    pub(super) creating: tokio::sync::Mutex<()>,
}

impl VaultKeys {
    /// Opens the keys of a directory of the local disk; makes those of a new vault when there is no log yet.
    ///
    /// # Errors
    /// `KeyUnavailable` when the master key can't be used; `Corrupt` when the log is damaged, or
    /// keys are missing in it; `NoSpace`, `Unavailable`.
    pub async fn open(params: VaultKeysParams) -> Result<Self> {
        Self::open_on(Arc::new(LocalDisk), params).await
    }

    /// As [`VaultKeys::open`], with the files of `disk`.
    ///
    /// # Errors
    /// As [`VaultKeys::open`].
    pub async fn open_on(disk: Arc<dyn Disk>, params: VaultKeysParams) -> Result<Self> {
        let VaultKeysParams { directory, provider, clock, entropy } = params;
        let path = |name: &str| directory.join(name);
        let (log, copy) = (path("keys.log"), path("keys.log.copy"));
        let slots = (path("shred.slots"), path("shred.slots.copy"));
        let slots = ShredSlots::open(&*disk, &slots.0, &slots.1, entropy.clone())?;
        let is_new = !is_there(&*disk, &log)? && !is_there(&*disk, &copy)?;
        let mut log = if is_new {
            KeyLog::create(&*disk, &log, &copy, VaultId::draw(&*entropy))?
        } else {
            KeyLog::open(&*disk, &log, &copy)?
        };
        if log.entries().is_empty() {
            found(&mut log, &*provider).await?;
        }
        let vault = log.vault();
        let missing = || Error::corrupt("the key log lacks a key of the vault");
        let wrapped = |purpose: &Purpose| {
            log.entries().iter().rev().find_map(|entry| match (entry, purpose) {
                (KeyEntry::Vault(wrapped), Purpose::Vault)
                | (KeyEntry::Catalog(wrapped), Purpose::Catalog) => Some(wrapped.clone()),
                _ => None,
            })
        };
        let (vk, catk) = (wrapped(&Purpose::Vault), wrapped(&Purpose::Catalog));
        let (vk, catk) = (vk.ok_or_else(missing)?, catk.ok_or_else(missing)?);
        let vk = provider.unwrap(&vk, &Context { vault, purpose: Purpose::Vault }).await?;
        let catk = provider.unwrap(&catk, &Context { vault, purpose: Purpose::Catalog }).await?;
        Ok(Self {
            vault,
            vault_key: Arc::new(VaultKey::from_bytes(vk.expose())),
            catalog_key: Arc::new(CatalogKey::from_bytes(catk.expose())),
            provider,
            clock,
            entropy,
            disk,
            log: Arc::new(Mutex::new(log)),
            slots: Arc::new(slots),
            open: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            creating: tokio::sync::Mutex::default(),
        })
    }

    /// The vault.
    #[must_use]
    pub fn vault(&self) -> VaultId {
        self.vault
    }

    /// VK. Lives with the process.
    #[must_use]
    pub fn vault_key(&self) -> &Arc<VaultKey> {
        &self.vault_key
    }

    /// CATK. Lives with the process.
    #[must_use]
    pub fn catalog_key(&self) -> &Arc<CatalogKey> {
        &self.catalog_key
    }

    /// Makes the key of a new store, and the secret of its domain. Durable when it returns.
    ///
    /// # Errors
    /// `NotFound` when no store has the shared domain; `InvalidInput` when one of another account
    /// has it; `KeyUnavailable`, `NoSpace`, `Unavailable`.
    pub async fn create_store(&self, account: &str, domain: DomainChoice) -> Result<Store> {
        let _creating = self.creating.lock().await;
        let (domain, secrets) = match domain {
            DomainChoice::Own => {
                let secret = DomainSecret::draw(&*self.entropy);
                (DomainId::draw(&*self.entropy), vec![(1, ChunkSize::DEFAULT, secret)])
            }
            DomainChoice::Shared(domain) => (domain, self.shared_secrets(account, domain).await?),
        };
        let store =
            Store { account: account.to_owned(), id: StoreId::draw(&*self.entropy), domain };
        let context = self.store_context(account, store.id);
        let (key, wrapped) = self.provider.generate(&context).await?;
        let key = StoreKey::from_bytes(key.expose());
        let slot = self.allot_slot().await?;
        let (account, id) = (store.account.clone(), store.id);
        let entry = StoreEntry { account, store: id, epoch: FIRST_EPOCH, slot, wrapped };
        let domains = secrets.iter().map(|(epoch, chunk_size, secret)| {
            let aad = domain_aad(self.vault, domain, *epoch);
            let salted = Salted { label: "domain-secret", aad: &aad };
            KeyEntry::Domain(DomainEntry {
                store: store.id,
                store_key_epoch: FIRST_EPOCH,
                domain,
                epoch: *epoch,
                chunk_size: *chunk_size,
                sealed: seal_salted(&key, salted, secret.expose(), &*self.entropy),
            })
        });
        let entries: Vec<_> = std::iter::once(KeyEntry::Store(entry)).chain(domains).collect();
        self.append(entries).await?;
        Ok(store)
    }

    /// Demands that the key of `store` may still be used; asks its master key when it is time.
    ///
    /// # Errors
    /// `NotFound`, `KeyUnavailable`, `Unavailable`.
    pub async fn check(&self, store: StoreId) -> Result<()> {
        self.store_key(store).await.map(drop)
    }

    /// The key of `store`, fresh.
    ///
    /// # Errors
    /// `NotFound` when there is no such store; `KeyUnavailable` when its master key is disabled;
    /// `Unavailable` when it does not answer.
    pub async fn store_key(&self, store: StoreId) -> Result<Arc<StoreKey>> {
        let entry = self.store_entry(store)?;
        if let Standing::Fresh(key) = self.standing(&entry) {
            return Ok(key);
        }
        let _asking = self.asking.lock().await;
        let usable = match self.standing(&entry) {
            Standing::Fresh(key) => return Ok(key),
            Standing::Due(key) => Some(key),
            Standing::Stale => None,
        };
        // Freshness counts from before the call: the answer may be as old as that.
        let now = self.clock.monotonic();
        let context = self.store_context(&entry.account, store);
        match self.provider.unwrap(&entry.wrapped, &context).await {
            Ok(key) => {
                let key = StoreKey::from_bytes(key.expose());
                Ok(self.open.lock().opened(store, entry.wrapped.clone(), key, now))
            }
            Err(cause) => match usable {
                Some(key) if cause.kind() == ErrorKind::Unavailable => Ok(key),
                _ => {
                    if cause.kind() == ErrorKind::KeyUnavailable {
                        self.open.lock().refused(&entry.wrapped.key_id);
                    }
                    self.open.lock().expire(self.clock.monotonic());
                    Err(cause)
                }
            },
        }
    }

    /// The domain of `store`, as the key log names it.
    ///
    /// # Errors
    /// `NotFound` when there is no such store.
    pub fn domain_of(&self, store: StoreId) -> Result<DomainId> {
        let unknown = || Error::new(ErrorKind::NotFound, format!("domain of store {store}"));
        self.log.lock().domain_of(store).ok_or_else(unknown)
    }

    /// Opens `store` for writing: the newest epoch of its domain.
    ///
    /// # Errors
    /// As [`VaultKeys::store_key`]; `NotFound` when the store has no such domain; `Corrupt` when
    /// the sealed secret does not open.
    pub async fn open_store(&self, store: &Store) -> Result<Arc<OpenStore>> {
        let entry = self.domain_entries(store.id, store.domain).pop();
        let entry = entry.ok_or_else(|| Error::new(ErrorKind::NotFound, "domain of a store"))?;
        self.open_domain(&entry).await
    }

    /// Opens one epoch of the domain of `store`, to compute names of chunks again.
    ///
    /// # Errors
    /// As [`VaultKeys::open_store`].
    pub async fn open_epoch(&self, store: &Store, epoch: u32) -> Result<Arc<OpenStore>> {
        let entries = self.domain_entries(store.id, store.domain);
        let entry = entries.into_iter().find(|entry| entry.epoch == epoch);
        let entry = entry.ok_or_else(|| Error::new(ErrorKind::NotFound, "epoch of a domain"))?;
        self.open_domain(&entry).await
    }

    /// Allots a shred slot.
    ///
    /// # Errors
    /// `NoSpace`, `Unavailable`.
    pub(super) async fn allot_slot(&self) -> Result<u64> {
        let slots = self.slots.clone();
        blocking(move || slots.allot()).await
    }

    /// Erases a shred slot: afterwards no manifest that it covers opens, in this or any later
    /// process. Durable when it returns; idempotent.
    ///
    /// # Errors
    /// As [`ShredSlots::destroy`].
    pub async fn erase_slot(&self, slot: u64) -> Result<()> {
        let slots = self.slots.clone();
        let erased = blocking(move || slots.destroy(slot)).await;
        self.open.lock().forget_slot(slot);
        erased
    }

    /// Wipes the keys that may no longer be used: call it every few seconds.
    pub fn expire(&self) {
        self.open.lock().expire(self.clock.monotonic());
    }

    /// Wipes every key that is open now; the next use asks the master key.
    pub fn forget_open_keys(&self) {
        *self.open.lock() = OpenKeys::default();
    }

    /// Appends to the key log, which is opened anew first when an earlier append failed. Durable when it
    /// returns.
    pub(super) async fn append(&self, entries: Vec<KeyEntry>) -> Result<()> {
        let (log, disk) = (self.log.clone(), self.disk.clone());
        blocking(move || {
            let mut log = log.lock();
            log.open_anew(&*disk)?;
            log.append(&entries)
        })
        .await
    }

    /// How many keys are open.
    #[must_use]
    pub fn usage(&self) -> [Usage; 2] {
        self.open.lock().usage()
    }

    fn standing(&self, entry: &StoreEntry) -> Standing {
        self.open.lock().store(entry.store, &entry.wrapped, self.clock.monotonic())
    }

    pub(super) fn store_context(&self, account: &str, store: StoreId) -> Context {
        let purpose = Purpose::Store { account: account.to_owned(), store };
        Context { vault: self.vault, purpose }
    }

    pub(super) fn store_entry(&self, store: StoreId) -> Result<Arc<StoreEntry>> {
        let unknown = || Error::new(ErrorKind::NotFound, format!("key of store {store}"));
        self.log.lock().store(store).ok_or_else(unknown)
    }

    /// The epochs of a domain as `store` has them, oldest first; of an epoch, its newest sealing.
    fn domain_entries(&self, store: StoreId, domain: DomainId) -> Vec<DomainEntry> {
        let mut epochs = std::collections::BTreeMap::new();
        for entry in self.log.lock().domain(domain) {
            if entry.store == store {
                epochs.insert(entry.epoch, entry.clone());
            }
        }
        epochs.into_values().collect()
    }

    /// The domains in which `store` has a part.
    #[must_use]
    pub fn domains_of(&self, store: StoreId) -> Vec<DomainId> {
        self.log.lock().domains_of(store)
    }

    async fn open_domain(&self, entry: &DomainEntry) -> Result<Arc<OpenStore>> {
        let store_key = self.store_key(entry.store).await?;
        if let Some(open) = self.open.lock().domain(entry.store, (entry.domain, entry.epoch)) {
            return Ok(open);
        }
        let secret = self.domain_secret(entry, &store_key)?;
        let keys = DomainKeys::derive(&secret, entry.domain, entry.epoch);
        let open = Arc::new(OpenStore { keys, chunk_size: entry.chunk_size });
        self.open.lock().keep_domain(entry.store, open.clone());
        Ok(open)
    }

    fn domain_secret(&self, entry: &DomainEntry, store_key: &StoreKey) -> Result<DomainSecret> {
        let aad = domain_aad(self.vault, entry.domain, entry.epoch);
        let salted = Salted { label: "domain-secret", aad: &aad };
        let secret = open_salted(store_key, salted, &entry.sealed)?;
        let secret = secret.as_slice().try_into();
        let secret = secret.map_err(|_| Error::corrupt("length of a domain's secret"))?;
        Ok(DomainSecret::from_bytes(secret))
    }

    /// All epochs of a domain, opened through a store of `account` that has it.
    async fn shared_secrets(
        &self,
        account: &str,
        domain: DomainId,
    ) -> Result<Vec<(u32, ChunkSize, DomainSecret)>> {
        let holder = self.log.lock().domain(domain).first().map(|entry| entry.store);
        let holder = holder.ok_or_else(|| Error::new(ErrorKind::NotFound, "shared domain"))?;
        if self.store_entry(holder)?.account != account {
            return Err(Error::new(ErrorKind::InvalidInput, "domain of another account"));
        }
        let store_key = self.store_key(holder).await?;
        let entries = self.domain_entries(holder, domain).into_iter();
        entries
            .map(|entry| {
                Ok((entry.epoch, entry.chunk_size, self.domain_secret(&entry, &store_key)?))
            })
            .collect()
    }
}

/// Makes VK and CATK and appends both to the empty log of a new vault.
async fn found(log: &mut KeyLog, provider: &dyn KeyProvider) -> Result<()> {
    let wrap = async |purpose| -> Result<WrappedKey> {
        let context = Context { vault: log.vault(), purpose };
        provider.generate(&context).await.map(|(_, wrapped)| wrapped)
    };
    let entries = [
        KeyEntry::Vault(wrap(Purpose::Vault).await?),
        KeyEntry::Catalog(wrap(Purpose::Catalog).await?),
    ];
    log.append(&entries)
}

/// LP(vault) LP(domain) u32 epoch.
fn domain_aad(vault: VaultId, domain: DomainId, epoch: u32) -> Vec<u8> {
    let mut aad = Vec::with_capacity(44);
    put_lp(&mut aad, &vault.0);
    put_lp(&mut aad, &domain.0);
    aad.extend_from_slice(&epoch.to_le_bytes());
    aad
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|cause| Error::new(ErrorKind::Internal, "key files").because(cause))?
}
