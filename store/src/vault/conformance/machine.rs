//! Does the operations of a sequence one after the other and keeps the model in step.

use bytes::Bytes;
use futures::stream;

use super::{
    Body, End, Place, Role, Running, Slot, Step, World,
    model::{self, Entry, FILE_BYTES_MAX, Model},
};
use crate::{
    ErrorKind, Result,
    catalog::{RowKey, Table, memory::Fault},
    keys::{Available, FRESH_MS_MAX, MasterKeys},
    vault::{
        BodyError, CHUNKS, Committed, DomainChoice, FileRole, FileSpec, GcOptions,
        INLINE_BYTES_MAX, Item, ItemKind, Metadata, Removal, ScrubOptions, SlotChoice, StageError,
        Staged, Store, VaultCommit,
    },
};

/// The table of names that a world's catalog holds beside the vault's own.
pub const NAMES_TABLE: Table = Table("names");

/// How many names there are.
pub const NAMES: u8 = 8;

/// Cycles of garbage collection after which what nobody names is gone.
const CYCLES: usize = 3;

/// Rows that a cycle may keep by mistake (its marks are a Bloom filter).
const MISTAKEN_MAX: usize = 1;

/// Bytes of one piece of a body.
const PIECE_BYTES: usize = 100_000;

/// Does `steps` on `world`, which must be empty, and looks at all that can be seen after a last restart.
///
/// # Panics
/// At the first difference from the model.
pub async fn run(world: &dyn World, steps: &[Step]) {
    let running = world.start().await.expect("an empty disk opens");
    let stores = stores(&running).await;
    let mut machine =
        Machine { world, running, stores, model: Model::default(), disabled_since: None };
    for step in steps {
        machine = machine.step(step).await;
    }
    let mut machine = machine.restart(End::PowerLost { kept: 0 }).await;
    machine.leave_nothing().await;
    world.end(machine.running, End::Closed).await;
}

/// Three stores: two of one domain, one of another.
async fn stores(running: &Running) -> Vec<Store> {
    let make = |domain| running.vault.create_store("123456789012", domain);
    let first = make(DomainChoice::Own).await.expect("a store");
    let second = make(DomainChoice::Shared(first.domain)).await.expect("a store");
    let third = make(DomainChoice::Own).await.expect("a store");
    vec![first, second, third]
}

pub(super) struct Machine<'a> {
    pub(super) world: &'a dyn World,
    pub(super) running: Running,
    pub(super) model: Model,
    stores: Vec<Store>,
    /// When the master key was disabled, in milliseconds.
    disabled_since: Option<u64>,
}

/// A file that is staged, and what it becomes once it has a name.
struct Ready {
    staged: Staged,
    entry: Entry,
}

/// What the state of the master key says of an operation that needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum KeyAnswer {
    Must,
    May,
    MustNot,
}

impl Machine<'_> {
    async fn step(mut self, step: &Step) -> Self {
        match step {
            Step::Put(name, body, place) => self.put(*name, *body, *place).await,
            Step::Abandon(body, place) => drop(self.stage(*body, *place).await),
            Step::Refuse(name, body, place) => self.refuse(*name, *body, *place).await,
            Step::Doubt(name, body, place, fault) => {
                if let Some(ready) = self.stage(*body, *place).await {
                    self.doubt(*name, Some(ready), *fault).await;
                }
            }
            Step::Disturb(name, body, place, fault) => {
                self.disturb(*name, (*body, *place), *fault).await;
            }
            Step::Assemble(name, parts) => self.assemble(*name, parts).await,
            Step::Adopt(source, target, place) => self.adopt(*source, *target, *place).await,
            Step::Delete(name) => self.publish(*name, None).await,
            Step::DoubtDelete(name, fault) => self.doubt(*name, None, *fault).await,
            Step::Read(name) => self.read(*name).await,
            Step::Range(name, start, end) => self.read_range(*name, *start, *end).await,
            Step::List => self.list().await,
            Step::Restart(end) => return self.restart(*end).await,
            Step::Wait(ms) => self.world.clock().set(self.now() + u64::from(*ms)),
            Step::Key(available) => self.key(*available),
            Step::Rotate => self.rotate().await,
            Step::Erase(name) => self.erase(*name).await,
            Step::Collect(dead_percent) => self.collect(*dead_percent).await,
            Step::Settle => self.settle().await,
            Step::Scrub(open_percent) => self.scrub(*open_percent).await,
        }
        self
    }

    fn now(&self) -> u64 {
        readvault_ambient::Clock::unix_ms(self.world.clock())
    }

    fn key_answer(&self) -> KeyAnswer {
        match self.disabled_since {
            None => KeyAnswer::Must,
            Some(since) if self.now() - since < FRESH_MS_MAX => KeyAnswer::May,
            Some(_) => KeyAnswer::MustNot,
        }
    }

    /// The value of an operation that may fail for want of its key, and for nothing else.
    pub(super) fn keyed<T>(&self, result: Result<T>) -> Option<T> {
        let answer = self.key_answer();
        match result {
            Ok(value) => {
                assert_ne!(answer, KeyAnswer::MustNot, "served with a key that is disabled");
                Some(value)
            }
            Err(cause) if cause.kind() == ErrorKind::KeyUnavailable => {
                assert_ne!(answer, KeyAnswer::Must, "refused with a key that is enabled: {cause}");
                None
            }
            Err(cause) => panic!("{cause}: {:?}", std::error::Error::source(&cause)),
        }
    }

    async fn put(&mut self, name: u8, body: Body, place: Place) {
        if let Some(ready) = self.stage(body, place).await {
            self.publish(name, Some(ready)).await;
        }
    }

    async fn stage(&self, body: Body, place: Place) -> Option<Ready> {
        self.keyed(self.try_stage(body, place).await)
    }

    async fn try_stage(&self, body: Body, place: Place) -> Result<Ready> {
        let bytes = model::bytes(body);
        let item = self.item(place).await?;
        let pieces: Vec<Result<_, BodyError>> =
            bytes.chunks(PIECE_BYTES).map(|piece| Ok(bytes.slice_ref(piece))).collect();
        let staged = self.running.vault.stage(spec(&item, place.role), stream::iter(pieces)).await;
        let staged = staged.map_err(|cause| match cause {
            StageError::Store(cause) => cause,
            StageError::Body(cause) => panic!("the body is at hand: {cause}"),
        })?;
        let is_inline = place.role == Role::Object && bytes.len() as u64 <= INLINE_BYTES_MAX;
        let is_erasable = place.slot == Slot::Own;
        Ok(Ready { entry: entry(&staged, item, bytes, (is_inline, is_erasable)), staged })
    }

    async fn item(&self, place: Place) -> Result<Item> {
        let slot = match place.slot {
            Slot::Own => SlotChoice::Own,
            Slot::OfStore => SlotChoice::OfStore,
        };
        let store = &self.stores[usize::from(place.store)];
        self.running.vault.new_item(store, ItemKind::Object, slot).await
    }

    /// The commit that makes `name` what is ready, or nothing.
    fn naming(&self, name: u8, ready: Option<(Staged, &Entry)>) -> VaultCommit {
        let row = RowKey::new(NAMES_TABLE, [name]);
        let mut made = VaultCommit::default();
        match self.model.names.get(&name) {
            Some(before) => {
                made.commit.unchanged(row.clone(), before.version);
                let files = vec![before.file.clone()];
                made.removes.push(Removal { item: before.item.id, files });
            }
            None => {
                made.commit.absent(row.clone());
            }
        }
        match ready {
            Some((staged, entry)) => {
                made.commit.put(row, name_row(entry));
                made.files.push(staged);
            }
            None => {
                made.commit.delete(row);
            }
        }
        made
    }

    async fn publish(&mut self, name: u8, ready: Option<Ready>) {
        let (staged, entry) = parted(ready);
        let commit = self.naming(name, staged.zip(entry.as_ref()));
        match self.running.vault.commit(commit).await.expect("the commit is taken") {
            Committed::Applied { version } => self.named(name, entry, version),
            Committed::Conflict(row) => panic!("nothing changed {row:?} meanwhile"),
        }
    }

    fn named(&mut self, name: u8, entry: Option<Entry>, version: u64) {
        self.model.set(name, entry.map(|entry| Entry { version, ..entry }));
    }

    async fn refuse(&mut self, name: u8, body: Body, place: Place) {
        let Some(Ready { staged, entry }) = self.stage(body, place).await else { return };
        let mut commit = self.naming(name, Some((staged, &entry)));
        let absent = RowKey::new(NAMES_TABLE, "absent");
        commit.commit.unchanged(absent.clone(), 1);
        let refused = self.running.vault.commit(commit).await.expect("the commit is taken");
        assert_eq!(refused, Committed::Conflict(absent));
        self.model.gone.push(entry.file);
    }

    /// Commits while the catalog does not know what became of it.
    async fn doubt(&mut self, name: u8, ready: Option<Ready>, fault: Fault) {
        let Some(catalog) = self.world.faults() else { return self.publish(name, ready).await };
        let (staged, entry) = parted(ready);
        let commit = self.naming(name, staged.zip(entry.as_ref()));
        catalog.inject(fault);
        match (self.running.vault.commit(commit).await, fault) {
            (Ok(Committed::Applied { version }), Fault::UnknownApplied) => {
                self.named(name, entry, version);
            }
            (Err(cause), Fault::UnknownApplied) if entry.is_none() => {
                assert_eq!(cause.kind(), ErrorKind::Unavailable);
                self.named(name, None, 0);
            }
            (Err(cause), Fault::UnknownNotApplied) => {
                assert_eq!(cause.kind(), ErrorKind::Unavailable);
                self.model.gone.extend(entry.map(|entry| entry.file));
            }
            (other, _) => panic!("{other:?} after {fault:?}"),
        }
    }

    /// Stages while the catalog meets a fault; an upload that fails leaves nothing to see.
    async fn disturb(&mut self, name: u8, (body, place): (Body, Place), fault: Fault) {
        let Some(catalog) = self.world.faults() else { return self.put(name, body, place).await };
        catalog.inject(fault);
        let staged = self.try_stage(body, place).await;
        let met = catalog.calm() == 0;
        match staged {
            Err(cause) if met => assert_eq!(cause.kind(), ErrorKind::Unavailable),
            staged => {
                if let Some(ready) = self.keyed(staged) {
                    self.publish(name, Some(ready)).await;
                }
            }
        }
    }

    async fn assemble(&mut self, name: u8, parts: &[u8]) {
        let parts: Vec<_> =
            parts.iter().filter_map(|part| self.model.names.get(part).cloned()).collect();
        let bytes: Bytes = parts.iter().flat_map(|part| part.bytes.clone()).collect();
        if bytes.len() > FILE_BYTES_MAX {
            return;
        }
        let store = &self.stores[0];
        // As an upload does: the whole shares the slot of its parts.
        let own = parts.first().filter(|part| part.is_erasable && !part.is_erased);
        let slot = own.map_or(SlotChoice::OfStore, |part| SlotChoice::Same(part.item.slot));
        let item = self.running.vault.new_item(store, ItemKind::Object, slot).await;
        let Some(item) = self.keyed(item) else { return };
        let files: Vec<_> = parts.iter().map(|part| part.file.clone()).collect();
        let spec = spec(&item, Role::Object);
        let assembled = self.running.vault.assemble(spec, &files).await;
        let foreign = |part: &Entry| {
            part.is_inline || part.domain().is_some_and(|domain| domain != store.domain)
        };
        let (erased, foreign) =
            (parts.iter().any(|part| part.is_erased), parts.iter().any(foreign));
        match assembled {
            Err(cause) if foreign && cause.kind() == ErrorKind::InvalidInput => {}
            Err(cause) if erased && cause.kind() == ErrorKind::KeyUnavailable => {}
            other => {
                let Some(staged) = self.keyed(other) else { return };
                assert!(!erased && !foreign, "such parts can't be joined");
                let entry = entry(&staged, item, bytes, (false, own.is_some()));
                self.publish(name, Some(Ready { staged, entry })).await;
            }
        }
    }

    async fn adopt(&mut self, source: u8, target: u8, place: Place) {
        let Some(source) = self.model.names.get(&source).cloned() else { return };
        let item = self.item(place).await;
        let Some(item) = self.keyed(item) else { return };
        let domain = item.store.domain;
        let adopted = self.running.vault.adopt(spec(&item, place.role), &source.file).await;
        if source.is_erased {
            let cause = adopted.expect_err("an erased file can't be copied");
            return assert_eq!(cause.kind(), ErrorKind::KeyUnavailable);
        }
        let Some(adopted) = self.keyed(adopted) else { return };
        let must_move = source.domain().is_some_and(|own| own != domain);
        assert_eq!(adopted.is_none(), must_move, "bytes move when the domain changes, only then");
        if let Some(staged) = adopted {
            let is_inline = source.is_inline && place.role == Role::Object;
            let kinds = (is_inline, place.slot == Slot::Own);
            let entry = entry(&staged, item, source.bytes.clone(), kinds);
            self.publish(target, Some(Ready { staged, entry })).await;
        }
    }

    fn key(&mut self, available: bool) {
        let provider = self.world.provider();
        provider.set_available(if available { Available::Yes } else { Available::No });
        self.disabled_since =
            if available { None } else { self.disabled_since.or(Some(self.now())) };
    }

    async fn rotate(&self) {
        let (provider, keys) = (self.world.provider(), &self.running.keys);
        let older = provider.names();
        provider.add().expect("there is room for another");
        let rewrapped = keys.rewrap(&|_, _| {}).await;
        if self.disabled_since.is_some() {
            let cause =
                rewrapped.expect_err("keys can't be wrapped by a master key that is disabled");
            return assert_eq!(cause.kind(), ErrorKind::KeyUnavailable);
        }
        rewrapped.expect("keys can be wrapped again at any time");
        for name in older {
            keys.retire(provider, &name).await.expect("nothing is wrapped under it any more");
        }
    }

    async fn erase(&mut self, name: u8) {
        let Some(entry) = self.model.names.get(&name).filter(|entry| entry.is_erasable) else {
            return;
        };
        let slot = entry.item.slot;
        let covered = self.model.names.values().filter(|entry| entry.item.slot == slot);
        let files: Vec<_> = covered.map(|entry| entry.file.manifest).collect();
        let erased = self.running.vault.erase(slot, &files).await;
        erased.expect("a slot can be erased without a key");
        self.model.erase(slot);
    }

    async fn collect(&mut self, dead_percent: u8) {
        let options = GcOptions { dead_percent, dry_run: false };
        let cycle = self.running.vault.collect_garbage(options).await;
        let cycle = cycle.expect("garbage can be collected at any time");
        let closed = self.model.names.values().any(|entry| entry.is_erased);
        let unknown = self.key_answer() != KeyAnswer::Must || closed;
        assert!(cycle.skipped.is_empty() || unknown, "every manifest can be walked");
    }

    async fn settle(&self) {
        self.running.vault.settle_packs().await.expect("packs can be settled at any time");
    }

    async fn scrub(&self, open_percent: u8) {
        let options = ScrubOptions { bytes_a_second: None, open_percent, resume: false };
        let scrub = self.running.vault.scrub(options, &|_| {}).await;
        let scrub = scrub.expect("packs can be read at any time");
        assert_eq!(scrub.damaged, 0, "nothing is damaged: {:?}", scrub.places);
    }

    /// Removes every file: then no chunk stays, after the cycles that a chunk may outlive.
    async fn leave_nothing(&mut self) {
        for name in 0..NAMES {
            if self.model.names.contains_key(&name) {
                self.publish(name, None).await;
            }
        }
        for _ in 0..CYCLES {
            self.collect(1).await;
        }
        let rows = self.rows(CHUNKS).await.len();
        assert!(rows <= MISTAKEN_MAX, "{rows} rows of chunks outlive all files");
        self.look_at_everything().await;
    }

    async fn restart(mut self, end: End) -> Self {
        self.world.end(self.running, end).await;
        if self.disabled_since.take().is_some() {
            let refused = self.world.start().await.expect_err("the master key is disabled");
            assert_eq!(refused.kind(), ErrorKind::KeyUnavailable);
            self.world.provider().set_available(Available::Yes);
        }
        self.running = self.world.start().await.expect("what was left opens again");
        self.look_at_everything().await;
        self
    }
}

fn parted(ready: Option<Ready>) -> (Option<Staged>, Option<Entry>) {
    ready.map(|Ready { staged, entry }| (staged, entry)).unzip()
}

fn entry(
    staged: &Staged,
    item: Item,
    bytes: Bytes,
    (is_inline, is_erasable): (bool, bool),
) -> Entry {
    let file = staged.file().clone();
    assert_eq!(file.length, bytes.len() as u64);
    Entry { bytes, file, item, version: 0, is_inline, is_erasable, is_erased: false }
}

/// The row that names a file.
pub(super) fn name_row(entry: &Entry) -> Vec<u8> {
    serde_json::to_vec(&(&entry.file, entry.item.id)).expect("plain data")
}

fn spec(item: &Item, role: Role) -> FileSpec {
    let role = match role {
        Role::Object => FileRole::Object,
        Role::Part => FileRole::Part,
    };
    FileSpec::new(item.clone(), role, Metadata::Known(Bytes::from_static(b"name")))
}
