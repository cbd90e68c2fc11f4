//! Rotation of master keys: cut short anywhere it loses no key and can be finished.

use std::{fs, path::Path, sync::Arc};

use readvault_ambient::testing::{ManualClock, SeededEntropy};
use readvault_store::{
    ErrorKind,
    keys::{KeySource, Keyring, MasterKeys, PassphraseCost, VaultKeys, VaultKeysParams},
    seal::SecretKey,
    vault::{DomainChoice, ItemKind, SlotChoice, Store},
};
use zeroize::Zeroizing;

const ACCOUNT: &str = "123456789012";

/// Names of the key log and its copy.
const LOGS: [&str; 2] = ["keys.log", "keys.log.copy"];

fn source(byte: u8) -> KeySource {
    KeySource::Raw(Zeroizing::new([byte; 32]))
}

fn entropy(seed: u64) -> Arc<SeededEntropy> {
    Arc::new(SeededEntropy::new(seed))
}

struct Open {
    keyring: Arc<Keyring>,
    keys: VaultKeys,
}

impl Open {
    /// Opens what is in `directory`; makes it when nothing is there.
    async fn at(directory: &Path) -> Self {
        let path = directory.join("keyring");
        let keyring = if path.exists() {
            Keyring::open(&path, &source(7), entropy(2)).unwrap()
        } else {
            Keyring::create(&path, &source(7), entropy(1)).unwrap()
        };
        let keyring = Arc::new(keyring);
        let keys = with(directory, keyring.clone()).await.unwrap();
        Self { keyring, keys }
    }

    async fn store_keys(&self, stores: &[Store]) -> Vec<[u8; 32]> {
        let mut keys = Vec::new();
        for store in stores {
            keys.push(*self.keys.store_key(store.id).await.unwrap().expose());
        }
        keys.extend([*self.keys.vault_key().expose(), *self.keys.catalog_key().expose()]);
        keys
    }
}

async fn with(directory: &Path, keyring: Arc<Keyring>) -> readvault_store::Result<VaultKeys> {
    VaultKeys::open(VaultKeysParams {
        directory: directory.to_owned(),
        provider: keyring,
        clock: Arc::new(ManualClock::at(1_000_000)),
        entropy: entropy(3),
    })
    .await
}

async fn stores(keys: &VaultKeys, count: usize) -> Vec<Store> {
    let mut stores = Vec::new();
    for _ in 0..count {
        stores.push(keys.create_store(ACCOUNT, DomainChoice::Own).await.unwrap());
    }
    stores
}

#[tokio::test]
async fn a_rotation_changes_every_wrapping_and_no_key() {
    let directory = tempfile::tempdir().unwrap();
    let open = Open::at(directory.path()).await;
    let stores = stores(&open.keys, 300).await;
    let item = open.keys.new_item(&stores[0], ItemKind::ReadSet, SlotChoice::Own).await.unwrap();
    let before = open.store_keys(&stores).await;
    let item_key = *open.keys.item_key(&item).await.unwrap().expose();

    assert_eq!(open.keys.stale(), 0);
    assert_eq!(open.keyring.add().unwrap(), "keyring/v2");
    assert_eq!(open.keys.stale(), 302);
    let told = std::sync::Mutex::new(Vec::new());
    let count = open.keys.rewrap(&|done, of| told.lock().unwrap().push((done, of))).await.unwrap();
    assert_eq!((count, open.keys.stale()), (302, 0));
    assert_eq!(*told.lock().unwrap(), [(0, 302), (256, 302), (302, 302)]);
    let usage = open.keys.wraps();
    assert_eq!((usage.len(), usage["keyring/v2"].of_stores), (1, 300));

    // In the same process, and after a restart without the old root.
    assert_eq!(open.store_keys(&stores).await, before);
    assert_eq!(open.keys.item_key(&item).await.unwrap().expose(), &item_key);
    open.keys.retire(&*open.keyring, "keyring/v1").await.unwrap();
    drop(open);
    let open = Open::at(directory.path()).await;
    assert_eq!(open.keyring.names(), ["keyring/v2"]);
    assert_eq!(open.store_keys(&stores).await, before);
    assert_eq!(open.keys.item_key(&item).await.unwrap().expose(), &item_key);
}

#[tokio::test]
async fn a_rotation_that_is_cut_short_anywhere_is_finished_later() {
    let directory = tempfile::tempdir().unwrap();
    let open = Open::at(directory.path()).await;
    let stores = stores(&open.keys, 2).await;
    let keys = open.store_keys(&stores).await;
    let old_log = fs::read(directory.path().join(LOGS[0])).unwrap();
    open.keyring.add().unwrap();
    open.keys.rewrap(&|_, _| {}).await.unwrap();
    let new_log = fs::read(directory.path().join(LOGS[0])).unwrap();
    drop(open);
    // Killed after the keyring was written and before, in and after each append: the log may end
    // anywhere, and its copy is behind it or not.
    for end in (old_log.len()..=new_log.len()).step_by(3) {
        for copy in [&new_log[..old_log.len()], &new_log[..end]] {
            fs::write(directory.path().join(LOGS[0]), &new_log[..end]).unwrap();
            fs::write(directory.path().join(LOGS[1]), copy).unwrap();
            let open = Open::at(directory.path()).await;
            assert_eq!(open.store_keys(&stores).await, keys, "cut at {end}");
            open.keys.rewrap(&|_, _| {}).await.unwrap();
            assert_eq!(open.keys.stale(), 0, "cut at {end}");
            assert_eq!(open.store_keys(&stores).await, keys, "cut at {end}");
        }
    }
}

#[tokio::test]
async fn a_master_key_that_wraps_something_stays() {
    let directory = tempfile::tempdir().unwrap();
    let open = Open::at(directory.path()).await;
    stores(&open.keys, 1).await;
    for (name, kind) in [
        ("keyring/v1", ErrorKind::Precondition),
        ("keyring/v9", ErrorKind::NotFound),
        ("other", ErrorKind::NotFound),
    ] {
        let refused = open.keys.retire(&*open.keyring, name).await.unwrap_err();
        assert_eq!(refused.kind(), kind, "{name}");
    }
    open.keyring.add().unwrap();
    let refused = open.keys.retire(&*open.keyring, "keyring/v1").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Precondition);
    let newest = open.keyring.retire("keyring/v2").unwrap_err();
    assert_eq!(newest.kind(), ErrorKind::Precondition);
    assert_eq!(open.keyring.names(), ["keyring/v1", "keyring/v2"]);
}

#[tokio::test]
async fn the_old_root_alone_opens_nothing_that_came_later() {
    let directory = tempfile::tempdir().unwrap();
    let open = Open::at(directory.path()).await;
    let old_keyring = fs::read(directory.path().join("keyring")).unwrap();
    open.keyring.add().unwrap();
    open.keys.rewrap(&|_, _| {}).await.unwrap();
    stores(&open.keys, 1).await;
    drop(open);
    fs::write(directory.path().join("keyring"), old_keyring).unwrap();
    let old = Keyring::open(&directory.path().join("keyring"), &source(7), entropy(2)).unwrap();
    let refused = with(directory.path(), Arc::new(old)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::KeyUnavailable);
}

#[test]
fn a_keyring_is_resealed_and_rotated_under_its_new_source() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keyring");
    let cost = PassphraseCost { memory_kib: 64, passes: 1, lanes: 1 };
    let passphrase = |text: &str| KeySource::Passphrase(Zeroizing::new(text.into()));
    let sources = [source(7), passphrase("one"), passphrase("two"), source(8)];
    let mut keyring = Keyring::create(&path, &sources[0], entropy(1)).unwrap();
    for (number, to) in sources.iter().enumerate().skip(1) {
        keyring.reseal(to, cost).unwrap();
        keyring.add().unwrap();
        let opened = Keyring::open(&path, to, entropy(2)).unwrap();
        assert_eq!(opened.names(), keyring.names());
        assert_eq!(opened.names().len(), number + 1);
        let refused = Keyring::open(&path, &sources[number - 1], entropy(2)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::KeyUnavailable);
    }
}
