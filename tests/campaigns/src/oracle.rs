//! What a vault was asked and what it acknowledged, kept outside it.
//!
//! Names belong to lanes; a lane does one attempt after the other. So at any moment a lane has few states
//! that a reopened vault may show: the last acknowledged one, with or without each attempt since whose
//! outcome nobody knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use parking_lot::Mutex;

/// The visible files of a lane: name → bytes.
pub type Shown = BTreeMap<String, Bytes>;

/// What stands for the bytes of a file that was erased and has its name still: no file has these.
pub const ERASED: Bytes = Bytes::from_static(b"erased");

/// What an attempt changes, as a whole or not at all: name → bytes, or none for a name that ends.
pub type Change = Vec<(String, Option<Bytes>)>;

/// A clock of events: of the oracle's, and of the file operations where a campaign records them.
#[derive(Debug, Default)]
pub struct Ticks(AtomicU64);

impl Ticks {
    /// The number of the event that happens now.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    /// A clock that goes on from here.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(AtomicU64::new(self.now()))
    }

    /// A number behind all events so far.
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// An attempt and what became of it.
#[derive(Clone, Debug)]
struct Attempt {
    change: Change,
    started: u64,
    acknowledged: Option<u64>,
}

/// All attempts of all lanes.
#[derive(Debug, Default)]
pub struct Oracle {
    lanes: Mutex<BTreeMap<String, Vec<Attempt>>>,
}

/// An attempt under way.
#[derive(Clone, Debug)]
#[must_use = "tell what became of it"]
pub struct Started {
    lane: String,
    index: usize,
}

impl Oracle {
    /// Notes that `lane` is about to attempt `change`.
    pub fn start(&self, lane: &str, change: Change, ticks: &Ticks) -> Started {
        let mut lanes = self.lanes.lock();
        let attempts = lanes.entry(lane.to_owned()).or_default();
        attempts.push(Attempt { change, started: ticks.next(), acknowledged: None });
        Started { lane: lane.to_owned(), index: attempts.len() - 1 }
    }

    /// Notes that the attempt was acknowledged.
    pub fn acknowledge(&self, started: &Started, ticks: &Ticks) {
        let mut lanes = self.lanes.lock();
        let attempts = lanes.get_mut(&started.lane).expect("a started lane");
        attempts[started.index].acknowledged = Some(ticks.next());
    }

    /// The same knowledge, to go on with elsewhere.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { lanes: Mutex::new(self.lanes.lock().clone()) }
    }

    /// The same knowledge as it was at tick `end`, when the vault ended.
    #[must_use]
    pub fn until(&self, end: u64) -> Self {
        let mut lanes = self.lanes.lock().clone();
        for attempts in lanes.values_mut() {
            attempts.retain(|attempt| attempt.started < end);
            for attempt in attempts {
                attempt.acknowledged = attempt.acknowledged.filter(|tick| *tick < end);
            }
        }
        lanes.retain(|_, attempts| !attempts.is_empty());
        Self { lanes: Mutex::new(lanes) }
    }

    /// The acknowledged attempts of all lanes.
    pub fn acknowledged(&self) -> usize {
        let lanes = self.lanes.lock();
        lanes.values().flatten().filter(|attempt| attempt.acknowledged.is_some()).count()
    }

    /// Whether a vault that ended at tick `end` may show exactly `shown`; if not, a sentence about the
    /// first lane that is wrong.
    ///
    /// # Errors
    /// That sentence.
    pub fn allows(&self, shown: &Shown, end: u64) -> Result<(), String> {
        let lanes = self.lanes.lock();
        let mut of_lane: BTreeMap<&str, Shown> = BTreeMap::new();
        for (name, bytes) in shown {
            let lane = name.split('/').next().expect("split gives a first part");
            let files = of_lane.entry(lane).or_default();
            files.insert(name.clone(), bytes.clone());
        }
        if let Some(stray) = of_lane.keys().find(|lane| !lanes.contains_key(**lane)) {
            return Err(format!("lane {stray} was never begun"));
        }
        for (lane, attempts) in lanes.iter() {
            let shown = of_lane.remove(lane.as_str()).unwrap_or_default();
            let mut named = 0;
            for names in together(attempts) {
                let some: Shown = shown
                    .iter()
                    .filter(|(name, _)| names.contains(*name))
                    .map(|(name, bytes)| (name.clone(), bytes.clone()))
                    .collect();
                let of_names = attempts.iter().filter(|one| names.contains(&one.change[0].0));
                let allowed = allowed(of_names, end);
                if !allowed.contains(&some) {
                    return Err(complaint(lane, &some, &allowed));
                }
                named += some.len();
            }
            if named != shown.len() {
                return Err(format!("lane {lane} shows a name that it was never given"));
            }
        }
        Ok(())
    }
}

/// The names of a lane in groups: those that one attempt changes together are in one. Each group is a lane
/// for itself, so that many attempts whose outcome nobody knows do not multiply.
fn together(attempts: &[Attempt]) -> Vec<BTreeSet<String>> {
    let mut groups: Vec<BTreeSet<String>> = Vec::new();
    for attempt in attempts {
        let mut group: BTreeSet<_> = attempt.change.iter().map(|(name, _)| name.clone()).collect();
        groups.retain(|other| {
            let apart = other.is_disjoint(&group);
            if !apart {
                group.extend(other.iter().cloned());
            }
            apart
        });
        groups.push(group);
    }
    groups
}

/// All that a group of names may show.
fn allowed<'a>(attempts: impl Iterator<Item = &'a Attempt>, end: u64) -> BTreeSet<Shown> {
    let mut allowed = BTreeSet::from([Shown::new()]);
    for attempt in attempts.filter(|attempt| attempt.started < end) {
        let after = allowed.iter().map(|shown| changed(shown.clone(), &attempt.change));
        let after: BTreeSet<_> = after.collect();
        if attempt.acknowledged.is_some_and(|acknowledged| acknowledged < end) {
            allowed = after;
        } else {
            allowed.extend(after);
        }
    }
    allowed
}

fn changed(mut shown: Shown, change: &Change) -> Shown {
    for (name, bytes) in change {
        match bytes {
            Some(bytes) => shown.insert(name.clone(), bytes.clone()),
            None => shown.remove(name),
        };
    }
    shown
}

fn complaint(lane: &str, shown: &Shown, allowed: &BTreeSet<Shown>) -> String {
    let list = |files: &Shown| {
        let files = files.iter().map(|(name, bytes)| format!("{name} ({} bytes)", bytes.len()));
        files.collect::<Vec<_>>().join(", ")
    };
    let allowed: Vec<_> = allowed.iter().map(list).collect();
    format!("lane {lane} shows [{}], allowed are [{}]", list(shown), allowed.join("] or ["))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_attempt_changes_shows_together_however_many_are_unknown() {
        let (oracle, ticks) = (Oracle::default(), Ticks::default());
        for number in 0..200 {
            let names = [format!("a/{number}"), format!("a/{number}.other")];
            let change = names.map(|name| (name, Some(Bytes::from_static(b"x"))));
            let _unknown = oracle.start("a", change.to_vec(), &ticks);
        }
        let shown = |names: &[&str]| {
            names.iter().map(|name| ((*name).to_owned(), Bytes::from_static(b"x"))).collect()
        };
        assert!(oracle.allows(&shown(&["a/7", "a/7.other"]), ticks.now()).is_ok());
        assert!(oracle.allows(&shown(&["a/7"]), ticks.now()).is_err(), "half of it");
    }

    fn put(name: &str, bytes: &'static [u8]) -> Change {
        vec![(name.to_owned(), Some(Bytes::from_static(bytes)))]
    }

    #[test]
    fn what_was_acknowledged_must_show_and_what_was_not_may() {
        let (oracle, ticks) = (Oracle::default(), Ticks::default());
        let first = oracle.start("a", put("a/1", b"x"), &ticks);
        let middle = ticks.next();
        oracle.acknowledge(&first, &ticks);
        let _second = oracle.start("a", put("a/1", b"y"), &ticks);
        let shown =
            |bytes: &'static [u8]| Shown::from([("a/1".to_owned(), Bytes::from_static(bytes))]);
        assert!(oracle.allows(&shown(b"x"), ticks.now()).is_ok());
        assert!(oracle.allows(&shown(b"y"), ticks.now()).is_ok());
        assert!(oracle.allows(&shown(b"z"), ticks.now()).is_err());
        assert!(oracle.allows(&Shown::new(), ticks.now()).is_err());
        assert!(oracle.allows(&Shown::new(), middle).is_ok());
        assert!(oracle.allows(&shown(b"y"), middle).is_err(), "it was not yet asked for");
        assert!(oracle.allows(&Shown::from([("b/1".to_owned(), Bytes::new())]), 9).is_err());
        let mut more = shown(b"x");
        more.insert("a/2".to_owned(), Bytes::new());
        assert!(oracle.allows(&more, ticks.now()).is_err(), "nobody put it");
    }
}
