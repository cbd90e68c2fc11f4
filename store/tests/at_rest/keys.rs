//! Keys at rest survive crashes and refuse damage; keys in use end when their master key does.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use readvault_ambient::testing::{ManualClock, SeededEntropy};
use readvault_store::{
    ErrorKind,
    disk::{
        LocalDisk,
        observed::{ObservedDisk, Observer, Operation, Verdict},
    },
    ids::{StoreId, VaultId},
    keys::{
        Available, Context, KeyEntry, KeyLog, KeyProvider, KeySource, Keyring, MasterKeys,
        MemoryKeyProvider, PassphraseCost, Purpose, ShredSlots, VaultKeys, VaultKeysParams,
        WrapKind, WrappedKey,
    },
    seal::SecretKey,
    vault::{DomainChoice, ItemKind, SlotChoice},
};
use zeroize::Zeroizing;

const ACCOUNT: &str = "123456789012";

fn entropy(seed: u64) -> Arc<SeededEntropy> {
    Arc::new(SeededEntropy::new(seed))
}

fn context(store: u8) -> Context {
    let purpose = Purpose::Store { account: ACCOUNT.into(), store: StoreId([store; 16]) };
    Context { vault: VaultId([1; 16]), purpose }
}

struct Bench {
    directory: tempfile::TempDir,
    provider: Arc<MemoryKeyProvider>,
    clock: Arc<ManualClock>,
    entropy: Arc<SeededEntropy>,
}

impl Bench {
    fn new(seed: u64) -> Self {
        let entropy = entropy(seed);
        Self {
            directory: tempfile::tempdir().unwrap(),
            provider: Arc::new(MemoryKeyProvider::new(entropy.clone())),
            clock: Arc::new(ManualClock::at(1_000_000)),
            entropy,
        }
    }

    async fn open(&self) -> VaultKeys {
        VaultKeys::open(VaultKeysParams {
            directory: self.directory.path().to_owned(),
            provider: self.provider.clone(),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
        })
        .await
        .unwrap()
    }
}

#[tokio::test]
async fn keys_come_back_after_a_restart() {
    let bench = Bench::new(1);
    let keys = bench.open().await;
    let store = keys.create_store(ACCOUNT, DomainChoice::Own).await.unwrap();
    let shared = keys.create_store(ACCOUNT, DomainChoice::Shared(store.domain)).await.unwrap();
    let foreign = keys.create_store("999999999999", DomainChoice::Shared(store.domain)).await;
    assert_eq!(foreign.unwrap_err().kind(), ErrorKind::InvalidInput);
    let item = keys.new_item(&store, ItemKind::Object, SlotChoice::Own).await.unwrap();
    let other = keys.new_item(&store, ItemKind::Object, SlotChoice::OfStore).await.unwrap();
    assert_ne!(item.slot, other.slot);
    let key = *keys.item_key(&item).await.unwrap().expose();
    let vault_key = *keys.vault_key().expose();
    drop(keys);

    let keys = bench.open().await;
    assert_eq!(*keys.vault_key().expose(), vault_key);
    assert_eq!(*keys.item_key(&item).await.unwrap().expose(), key);
    assert_ne!(*keys.item_key(&other).await.unwrap().expose(), key);
    let next = keys.new_item(&store, ItemKind::Object, SlotChoice::Own).await.unwrap();
    assert!(next.slot > other.slot, "a slot is never used twice");
    let mut strange = item.clone();
    strange.kind = ItemKind::Upload;
    assert!(keys.item_key(&strange).await.is_err(), "a seed is bound to its item");
    let chunk = readvault_store::chunk::ChunkSize::DEFAULT;
    for store in [&store, &shared] {
        assert_eq!(keys.open_store(store).await.unwrap().chunk_size(), chunk);
    }
}

#[tokio::test]
async fn a_disabled_master_key_ends_reads_within_a_minute() {
    let bench = Bench::new(2);
    let keys = bench.open().await;
    let store = keys.create_store(ACCOUNT, DomainChoice::Own).await.unwrap();
    let item = keys.new_item(&store, ItemKind::ReadSet, SlotChoice::Own).await.unwrap();
    let calls = bench.provider.calls();
    for second in 0..39 {
        bench.clock.set(1_000_000 + second * 1000);
        keys.item_key(&item).await.unwrap();
    }
    assert_eq!(bench.provider.calls(), calls, "no call while fresh");
    bench.clock.set(1_041_000);
    keys.item_key(&item).await.unwrap();
    assert_eq!(bench.provider.calls(), calls + 1, "renewed after 40 s");
    bench.provider.set_available(Available::No);
    bench.clock.set(1_080_000);
    keys.item_key(&item).await.unwrap();
    bench.clock.set(1_101_001);
    let refused = keys.item_key(&item).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::KeyUnavailable);
    assert_eq!(keys.check(store.id).await.unwrap_err().kind(), ErrorKind::KeyUnavailable);
    bench.provider.set_available(Available::Yes);
    keys.item_key(&item).await.unwrap();
}

#[tokio::test]
async fn an_erased_slot_ends_its_items_and_no_other() {
    let bench = Bench::new(3);
    let keys = bench.open().await;
    let store = keys.create_store(ACCOUNT, DomainChoice::Own).await.unwrap();
    let erased = keys.new_item(&store, ItemKind::ReadSet, SlotChoice::Own).await.unwrap();
    let sharing = SlotChoice::Same(erased.slot);
    let sharing = keys.new_item(&store, ItemKind::ReadSet, sharing).await.unwrap();
    let kept = keys.new_item(&store, ItemKind::ReadSet, SlotChoice::Own).await.unwrap();
    keys.erase_slot(erased.slot).await.unwrap();
    keys.erase_slot(erased.slot).await.unwrap();
    for item in [&erased, &sharing] {
        assert_eq!(keys.item_key(item).await.unwrap_err().kind(), ErrorKind::KeyUnavailable);
    }
    keys.item_key(&kept).await.unwrap();
    drop(keys);
    let keys = bench.open().await;
    assert_eq!(keys.item_key(&erased).await.unwrap_err().kind(), ErrorKind::KeyUnavailable);
    keys.item_key(&kept).await.unwrap();
}

#[test]
fn an_erasure_leaves_the_secret_in_neither_copy() {
    let directory = tempfile::tempdir().unwrap();
    let paths = ["a", "b"].map(|name| directory.path().join(name));
    let slots = ShredSlots::open(&LocalDisk, &paths[0], &paths[1], entropy(5)).unwrap();
    let (erased, kept) = (slots.allot().unwrap(), slots.allot().unwrap());
    let [gone, stays] = [erased, kept].map(|slot| *slots.secret(slot).unwrap().expose());
    slots.destroy(erased).unwrap();
    for path in &paths {
        let bytes = fs::read(path).unwrap();
        let holds = |secret: [u8; 32]| bytes.windows(32).any(|window| window == secret);
        assert_eq!((holds(gone), holds(stays)), (false, true), "{}", path.display());
    }
}

#[test]
fn a_damaged_slot_is_an_error_and_never_an_empty_secret() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let slots = ShredSlots::open(&LocalDisk, &at("a"), &at("b"), entropy(4)).unwrap();
    let slot = slots.allot().unwrap();
    let secret = *slots.secret(slot).unwrap().expose();
    assert_ne!(secret, [0; 32]);
    flip(&at("a"), slot as usize * 64 + 3);
    assert_eq!(*slots.secret(slot).unwrap().expose(), secret, "the copy serves");
    flip(&at("b"), slot as usize * 64 + 41);
    assert_eq!(slots.secret(slot).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(slots.secret(1 << 40).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(slots.secret(u64::MAX).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(slots.destroy(1 << 40).unwrap_err().kind(), ErrorKind::NotFound);
    // A slot moved to another number is no slot.
    let file = fs::read(at("a")).unwrap();
    let moved = [&file[64..128], &file[64..]].concat();
    fs::write(at("a"), moved).unwrap();
    assert_eq!(slots.secret(0).unwrap_err().kind(), ErrorKind::Corrupt);
}

fn vault_entry(id: u8) -> KeyEntry {
    let bytes = vec![id; 50];
    KeyEntry::Vault(WrappedKey { kind: WrapKind::Keyring, key_id: "k".into(), bytes })
}

#[test]
fn a_torn_key_log_is_mended_and_a_damaged_one_named() {
    let directory = tempfile::tempdir().unwrap();
    let (main, copy) = (directory.path().join("keys.log"), directory.path().join("keys.log.copy"));
    let entry = vault_entry;
    let mut log = KeyLog::create(&LocalDisk, &main, &copy, VaultId([1; 16])).unwrap();
    log.append(&[entry(1)]).unwrap();
    let one = fs::read(&main).unwrap();
    log.append(&[entry(2), entry(3)]).unwrap();
    let three = fs::read(&main).unwrap();
    drop(log);
    // Whatever length a crash left of the second append, the first is there, in both files.
    for cut in one.len()..=three.len() {
        for (written, behind) in [(&main, &copy), (&copy, &main)] {
            fs::write(written, &three[..cut]).unwrap();
            fs::write(behind, &one).unwrap();
            let log = KeyLog::open(&LocalDisk, &main, &copy).unwrap();
            assert_eq!(log.entries()[0], entry(1));
            assert_eq!(log.entries().len() == 3, cut == three.len(), "cut at {cut}");
            assert_eq!(fs::read(&main).unwrap(), fs::read(&copy).unwrap());
        }
    }
    // One damaged or absent copy is mended from the other.
    for at in [0, 10, 30, one.len() + 2, one.len() + 20] {
        fs::write(&main, &three).unwrap();
        fs::write(&copy, &three).unwrap();
        flip(&main, at);
        assert_eq!(KeyLog::open(&LocalDisk, &main, &copy).unwrap().entries().len(), 3, "byte {at}");
        assert_eq!(fs::read(&main).unwrap(), three, "byte {at}");
    }
    fs::remove_file(&main).unwrap();
    assert_eq!(KeyLog::open(&LocalDisk, &main, &copy).unwrap().entries().len(), 3);
    // Damage in both is named, not guessed around.
    flip(&main, 40);
    flip(&copy, 40);
    let damaged = KeyLog::open(&LocalDisk, &main, &copy).unwrap_err();
    assert_eq!(damaged.kind(), ErrorKind::Corrupt);
    assert!(damaged.to_string().contains("byte 25"), "{damaged}");
}

#[test]
fn an_append_of_several_keys_may_lose_any_sectors() {
    const SECTOR_BYTES: usize = 40;
    let directory = tempfile::tempdir().unwrap();
    let (main, copy) = (directory.path().join("keys.log"), directory.path().join("keys.log.copy"));
    let entries: Vec<_> = (1..=4).map(vault_entry).collect();
    let mut log = KeyLog::create(&LocalDisk, &main, &copy, VaultId([1; 16])).unwrap();
    log.append(&entries[..1]).unwrap();
    let before = fs::read(&main).unwrap();
    log.append(&entries[1..]).unwrap();
    let after = fs::read(&main).unwrap();
    drop(log);
    let sectors = (after.len() - before.len()).div_ceil(SECTOR_BYTES);
    for kept in 0..1_u32 << sectors {
        let mut torn = after.clone();
        for (number, sector) in torn[before.len()..].chunks_mut(SECTOR_BYTES).enumerate() {
            if kept & (1 << number) == 0 {
                sector.fill(0);
            }
        }
        for (log, behind, least) in [(&torn, &before, 1), (&after, &torn, 4)] {
            fs::write(&main, log).unwrap();
            fs::write(&copy, behind).unwrap();
            let log = KeyLog::open(&LocalDisk, &main, &copy).unwrap();
            assert!(log.entries().len() >= least, "sectors {kept:b}");
            assert!(entries.starts_with(log.entries()), "sectors {kept:b}");
        }
    }
}

/// Fails the first sync of an append, and counts the files that are replaced.
#[derive(Debug, Default)]
struct FailedSync {
    syncs: AtomicUsize,
    replaced: AtomicUsize,
}

impl Observer for FailedSync {
    fn begin(&self, operation: &Operation<'_>) -> Verdict {
        const EIO: i32 = 5;
        match operation {
            Operation::Sync(path) if path.extension().is_none_or(|end| end != "new") => {
                let first = self.syncs.fetch_add(1, Ordering::SeqCst) == 0;
                if first { Verdict::Fail(EIO) } else { Verdict::Go(0) }
            }
            Operation::Rename(..) => {
                self.replaced.fetch_add(1, Ordering::SeqCst);
                Verdict::Go(0)
            }
            _ => Verdict::Go(0),
        }
    }

    fn end(&self, _: &Operation<'_>, _: u64) {}
}

#[test]
fn what_a_failed_sync_left_is_written_anew() {
    let directory = tempfile::tempdir().unwrap();
    let (main, copy) = (directory.path().join("keys.log"), directory.path().join("keys.log.copy"));
    let failing = Arc::new(FailedSync::default());
    let disk = ObservedDisk::new(Arc::new(LocalDisk), failing.clone());
    let mut log = KeyLog::create(&disk, &main, &copy, VaultId([1; 16])).unwrap();
    let replaced = failing.replaced.load(Ordering::SeqCst);
    log.append(&[vault_entry(1)]).unwrap_err();
    log.append(&[vault_entry(1)]).unwrap_err();
    log.open_anew(&disk).unwrap();
    assert_eq!(
        failing.replaced.load(Ordering::SeqCst) - replaced,
        2,
        "both, also the one that reads as it should"
    );
    log.open_anew(&disk).unwrap();
    log.append(&[vault_entry(2)]).unwrap();
    assert_eq!(failing.replaced.load(Ordering::SeqCst) - replaced, 2);
    drop(log);
    let log = KeyLog::open(&LocalDisk, &main, &copy).unwrap();
    assert_eq!(log.entries(), [vault_entry(1), vault_entry(2)]);
}

#[tokio::test]
async fn a_keyring_opens_by_its_source_only() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let cost = PassphraseCost { memory_kib: 64, passes: 1, lanes: 1 };
    let passphrase = |text: &str| KeySource::Passphrase(Zeroizing::new(text.into()));
    fs::write(at("raw.key"), [6; 32]).unwrap();
    fs::write(at("hex.key"), format!("{}\n", "06".repeat(32))).unwrap();
    fs::write(at("short.key"), [6; 31]).unwrap();
    let sources = [
        (passphrase("right"), passphrase("wrong")),
        (KeySource::File(at("raw.key")), KeySource::Raw(Zeroizing::new([7; 32]))),
        (KeySource::File(at("hex.key")), passphrase("right")),
        (KeySource::Raw(Zeroizing::new([6; 32])), KeySource::File(at("short.key"))),
    ];
    for (number, (right, wrong)) in sources.iter().enumerate() {
        let path = at(&format!("keyring{number}"));
        let keyring = Keyring::create_at_cost(&path, right, cost, entropy(5)).unwrap();
        let refused = Keyring::create(&path, right, entropy(5)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        let (old_key, old) = keyring.generate(&context(1)).await.unwrap();
        assert_eq!(keyring.add().unwrap(), "keyring/v2");
        let (_, new) = keyring.generate(&context(1)).await.unwrap();
        assert_eq!((&*old.key_id, &*new.key_id), ("keyring/v1", "keyring/v2"));

        let opened = Keyring::open(&path, right, entropy(6)).unwrap();
        let key = opened.unwrap(&old, &context(1)).await.unwrap();
        assert_eq!(key.expose(), old_key.expose());
        let swapped = opened.unwrap(&old, &context(2)).await.unwrap_err();
        assert_eq!(swapped.kind(), ErrorKind::Corrupt, "another context");
        let renamed = WrappedKey { key_id: new.key_id.clone(), ..old.clone() };
        assert!(opened.unwrap(&renamed, &context(1)).await.is_err(), "another root");
        let unknown = WrappedKey { key_id: "keyring/v9".into(), ..old.clone() };
        let unknown = opened.unwrap(&unknown, &context(1)).await.unwrap_err();
        assert_eq!(unknown.kind(), ErrorKind::KeyUnavailable);
        for byte in 0..old.bytes.len() {
            let mut bitten = old.clone();
            bitten.bytes[byte] ^= 1;
            assert!(opened.unwrap(&bitten, &context(1)).await.is_err(), "byte {byte}");
        }
        let refused = Keyring::open(&path, wrong, entropy(6)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::KeyUnavailable, "source {number}");
    }
    let absent = Keyring::open(&at("absent"), &sources[0].0, entropy(6)).unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::NotFound);
}

#[test]
fn no_changed_keyring_file_opens() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keyring");
    let source = KeySource::Raw(Zeroizing::new([6; 32]));
    Keyring::create(&path, &source, entropy(7)).unwrap();
    let file = fs::read(&path).unwrap();
    for at in 0..file.len() {
        let mut bitten = file.clone();
        bitten[at] ^= 0x40;
        fs::write(&path, &bitten).unwrap();
        assert!(Keyring::open(&path, &source, entropy(7)).is_err(), "byte {at}");
        fs::write(&path, &file[..at]).unwrap();
        assert!(Keyring::open(&path, &source, entropy(7)).is_err(), "cut at {at}");
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}
