//! Random sequences against the naive model, which is the sole definition of right.

use std::collections::BTreeMap;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::*;
use crate::catalog::{Check, Write};

const STEPS_MAX: usize = 40;

#[derive(Clone, Debug)]
enum Step {
    Commit { checks: Vec<(u8, Expect)>, writes: Vec<(u8, Option<u8>)>, ordered: bool },
    Scan { start: u8, inclusive: bool, end: u8, fold: Fold, limit: usize },
}

#[derive(Clone, Copy, Debug)]
enum Expect {
    Absent,
    Current,
    Stale,
}

/// Rows of the model: value and version by key.
type Model = BTreeMap<Vec<u8>, (Vec<u8>, u64)>;

/// Keys of equal length, so that no name extends another; few, so that commits meet.
fn key(number: u8) -> Vec<u8> {
    let letter = |bits: u8| [b'a', b'/', b'b', 0xFF][usize::from(bits & 3)];
    vec![letter(number), letter(number >> 2), letter(number >> 4), number >> 6]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let expect = prop_oneof![Just(Expect::Absent), Just(Expect::Current), Just(Expect::Stale)];
    let checks = prop::collection::vec((0..=255_u8, expect), 0..3);
    let writes =
        prop::collection::vec((0..=255_u8, prop::option::weighted(0.7, any::<u8>())), 0..8);
    let commit = (checks, writes, any::<bool>())
        .prop_map(|(checks, writes, ordered)| Step::Commit { checks, writes, ordered });
    let delimiter = prop::option::of(prop_oneof![Just(b"/".to_vec()), Just(vec![0xFF, b'a'])]);
    let fold = (0..4_usize, delimiter, 0..3_usize)
        .prop_map(|(after, delimiter, version_suffix)| Fold { after, delimiter, version_suffix });
    let scan = (any::<u8>(), any::<bool>(), any::<u8>(), fold, 1..9_usize).prop_map(
        |(start, inclusive, end, fold, limit)| Step::Scan { start, inclusive, end, fold, limit },
    );
    prop::collection::vec(prop_oneof![2 => commit, 1 => scan], 1..STEPS_MAX)
}

/// Runs random sequences on every catalog in turn; rows of earlier sequences are removed first.
pub(super) fn random_sequences(catalogs: &[Arc<dyn Catalog>]) {
    // The sequences run on a thread of their own: proptest's runner is not asynchronous.
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            let runtime = runtime.expect("a runtime");
            let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
            for catalog in catalogs {
                let outcome = TestRunner::new(config.clone()).run(&steps(), |steps| {
                    runtime.block_on(sequence(&**catalog, &steps));
                    Ok(())
                });
                if let Err(failure) = outcome {
                    panic!("{failure}");
                }
            }
        });
        if let Err(panic) = worker.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

async fn sequence(catalog: &dyn Catalog, steps: &[Step]) {
    let mut clear = Commit::new();
    for row in page(catalog, &ScanRange::prefix(ALPHA, ""), &Fold::default(), 1000).await.rows() {
        clear.delete(RowKey::new(ALPHA, row.key));
    }
    let mut last = apply(catalog, clear).await;
    let mut model = Model::new();
    for step in steps {
        match step {
            Step::Commit { checks, writes, ordered } => {
                let mut commit = build(&model, checks, writes);
                if *ordered {
                    commit.durability = Durability::Ordered;
                }
                let expected = judge(&model, &commit);
                match catalog.commit(commit.clone()).await.expect("the commit is taken") {
                    Outcome::Applied { version } => {
                        assert_eq!(expected, None, "a check does not hold");
                        assert!(version > last);
                        last = version;
                        write(&mut model, &commit, version);
                    }
                    Outcome::Conflict(row) => assert_eq!(Some(row), expected),
                    Outcome::Unknown => panic!("nothing is unknown without a fault"),
                }
            }
            Step::Scan { start, inclusive, end, fold, limit } => {
                let start = key(*start);
                let range = ScanRange {
                    end: std::ops::Bound::Excluded(key(*end)),
                    ..ScanRange::prefix(ALPHA, "")
                };
                let range = if *inclusive { range.from(start) } else { range.after(start) };
                let found = walk(catalog, &range, fold, *limit).await;
                assert_eq!(found, expected_items(&model, &range, fold));
            }
        }
    }
}

fn build(model: &Model, checks: &[(u8, Expect)], writes: &[(u8, Option<u8>)]) -> Commit {
    let mut commit = Commit::new();
    for (number, expect) in checks {
        let row = RowKey::new(ALPHA, key(*number));
        let version = model.get(&row.key).map_or(1, |(_, version)| *version);
        match expect {
            Expect::Absent => commit.absent(row),
            Expect::Current => commit.unchanged(row, version),
            Expect::Stale => commit.unchanged(row, version.saturating_sub(1)),
        };
    }
    for (number, value) in writes {
        let row = RowKey::new(ALPHA, key(*number));
        match value {
            Some(value) => commit.put(row, vec![*value; usize::from(*value)]),
            None => commit.delete(row),
        };
    }
    commit
}

fn judge(model: &Model, commit: &Commit) -> Option<RowKey> {
    let holds = |check: &&Check| match check {
        Check::Absent(row) => !model.contains_key(&row.key),
        Check::Version(row, version) => model.get(&row.key).is_some_and(|(_, now)| now == version),
    };
    commit.checks.iter().find(|check| !holds(check)).map(|check| check.row().clone())
}

fn write(model: &mut Model, commit: &Commit, version: u64) {
    for write in &commit.writes {
        match write {
            Write::Put(row, value) => model.insert(row.key.clone(), (value.to_vec(), version)),
            Write::Delete(row) => model.remove(&row.key),
        };
    }
}

/// Every row of the range is looked at singly: no seek, no page.
fn expected_items(model: &Model, range: &ScanRange, fold: &Fold) -> Vec<Item> {
    let inside = |key: &Vec<u8>| {
        std::ops::RangeBounds::contains(&(range.start.clone(), range.end.clone()), key)
    };
    let mut items: Vec<Item> = Vec::new();
    let mut previous: Option<Vec<u8>> = None;
    for (key, (value, version)) in model.iter().filter(|(key, _)| inside(key)) {
        let name = key[..key.len() - fold.version_suffix].to_vec();
        if let Some(group) = first_delimiter(&name, fold) {
            let group = Item::Group(group);
            if items.last() != Some(&group) {
                items.push(group);
            }
        } else if fold.version_suffix == 0 || previous.as_ref() != Some(&name) {
            let value = Bytes::copy_from_slice(value);
            items.push(Item::Row(Row { key: key.clone(), value, version: *version }));
        }
        previous = Some(name);
    }
    items
}

fn first_delimiter(name: &[u8], fold: &Fold) -> Option<Vec<u8>> {
    let delimiter = fold.delimiter.as_ref()?;
    (fold.after..name.len())
        .find(|at| name[*at..].starts_with(delimiter))
        .map(|at| name[..at + delimiter.len()].to_vec())
}
