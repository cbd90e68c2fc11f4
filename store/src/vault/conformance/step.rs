//! The operations of a sequence, and how they are drawn.

use proptest::prelude::*;

use crate::catalog::memory::Fault;

/// One operation. Names are numbers below [`NAMES`](super::NAMES).
#[derive(Clone, Debug)]
pub enum Step {
    /// Stores a file and gives it a name, which another file may have to give up.
    Put(u8, Body, Place),
    /// Stages a file and never commits it.
    Abandon(Body, Place),
    /// As `Put`, but a check of its commit does not hold.
    Refuse(u8, Body, Place),
    /// As `Put`, but its commit meets this fault.
    Doubt(u8, Body, Place, Fault),
    /// As `Put`, but the first commit while it is staged meets this fault.
    Disturb(u8, Body, Place, Fault),
    /// Joins parts into a file of the first store.
    Assemble(u8, Vec<u8>),
    /// Copies a file to another name.
    Adopt(u8, u8, Place),
    /// Removes a file.
    Delete(u8),
    /// As `Delete`, but its commit meets this fault.
    DoubtDelete(u8, Fault),
    /// Reads a whole file.
    Read(u8),
    /// Reads from one place to another, each in 65,536ths of the length.
    Range(u8, u16, u16),
    /// Lists all names, and looks for files that are gone.
    List,
    /// Ends the vault, starts another, and looks at everything.
    Restart(End),
    /// Lets time pass, in milliseconds.
    Wait(u32),
    /// Enables or disables the master key.
    Key(bool),
    /// Adds a master key, wraps all keys again under it, and retires the older ones.
    Rotate,
    /// Erases the shred slot of a file that has its own.
    Erase(u8),
    /// Collects garbage, and compacts packs with this share of dead bytes, in percent.
    Collect(u8),
    /// Settles closed packs, as a running server does now and then.
    Settle,
    /// Scrubs all packs and opens this share of the files, in percent.
    Scrub(u8),
}

/// Bytes of a file: the front of an endless sequence that its seed decides, so that two files of one seed
/// share chunks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Body {
    /// Which sequence.
    pub seed: u8,
    /// How many bytes.
    pub length: u32,
}

/// Where a file goes.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its store: the second shares the domain of the first, the third has its own.
    pub store: u8,
    /// Its shred slot.
    pub slot: Slot,
    /// What it is staged as.
    pub role: Role,
}

/// Whose shred slot a file uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slot {
    /// Its own.
    Own,
    /// Its store's.
    OfStore,
}

/// What a file is staged as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// An object: short ones live in their manifest.
    Object,
    /// A part: always made of chunks.
    Part,
}

/// How a vault ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// In order.
    Closed,
    /// By a loss of power; what was written and not synced is kept up to this many 256ths of it.
    PowerLost {
        /// How much of it.
        kept: u8,
    },
}

/// How often a place of a sequence holds an operation.
const FILLED: f64 = 0.999;

/// Sequences of about `count` operations, which shrink by leaving some out.
pub fn steps(count: usize) -> impl Strategy<Value = Vec<Step>> {
    let places = prop::collection::vec(prop::option::weighted(FILLED, step()), count);
    places.prop_map(|steps| steps.into_iter().flatten().collect())
}

fn step() -> impl Strategy<Value = Step> {
    let name = || 0..super::NAMES;
    let put = (name(), body(), place());
    prop_oneof![
        20 => put.prop_map(|(name, body, place)| Step::Put(name, body, place)),
        2 => (body(), place()).prop_map(|(body, place)| Step::Abandon(body, place)),
        3 => (name(), body(), place()).prop_map(|(name, body, place)| Step::Refuse(name, body, place)),
        3 => (name(), body(), place(), doubt())
            .prop_map(|(name, body, place, fault)| Step::Doubt(name, body, place, fault)),
        2 => (name(), body(), place(), fault())
            .prop_map(|(name, body, place, fault)| Step::Disturb(name, body, place, fault)),
        5 => (name(), prop::collection::vec(name(), 0..4))
            .prop_map(|(name, parts)| Step::Assemble(name, parts)),
        5 => (name(), name(), place())
            .prop_map(|(source, target, place)| Step::Adopt(source, target, place)),
        6 => name().prop_map(Step::Delete),
        1 => (name(), doubt()).prop_map(|(name, fault)| Step::DoubtDelete(name, fault)),
        8 => name().prop_map(Step::Read),
        6 => (name(), any::<u16>(), any::<u16>())
            .prop_map(|(name, start, end)| Step::Range(name, start, end)),
        3 => Just(Step::List),
        3 => prop_oneof![Just(End::Closed), any::<u8>().prop_map(|kept| End::PowerLost { kept })]
            .prop_map(Step::Restart),
        2 => prop_oneof![1..1_000_u32, 30_000..70_000_u32, Just(1_000_000)].prop_map(Step::Wait),
        2 => prop_oneof![1 => Just(false), 3 => Just(true)].prop_map(Step::Key),
        1 => Just(Step::Rotate),
        1 => name().prop_map(Step::Erase),
        5 => prop_oneof![Just(30_u8), Just(1), Just(100)].prop_map(Step::Collect),
        3 => Just(Step::Settle),
        1 => prop_oneof![Just(0_u8), Just(100)].prop_map(Step::Scrub),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![Just(Fault::Conflict), doubt()]
}

fn doubt() -> impl Strategy<Value = Fault> {
    prop_oneof![Just(Fault::UnknownApplied), Just(Fault::UnknownNotApplied)]
}

/// Lengths around the edges of frames and chunks; few of them long, as those take most of the time.
fn body() -> impl Strategy<Value = Body> {
    let length = prop_oneof![
        70 => (0..12_u32).prop_map(|n| n * n * 41),
        10 => 65_535..65_538_u32,
        4 => 131_071..140_000_u32,
        1 => 1_048_575..1_048_578_u32,
        1 => 2_097_152..2_400_000_u32,
    ];
    (0..6_u8, length).prop_map(|(seed, length)| Body { seed, length })
}

fn place() -> impl Strategy<Value = Place> {
    let slot = prop_oneof![Just(Slot::Own), Just(Slot::OfStore)];
    let role = prop_oneof![2 => Just(Role::Part), 1 => Just(Role::Object)];
    let store = prop_oneof![4 => Just(0_u8), 2 => Just(1), 1 => Just(2)];
    (store, slot, role).prop_map(|(store, slot, role)| Place { store, slot, role })
}
