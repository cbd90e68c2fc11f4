//! What a group of commits does, decided before anything is written: pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use readvault_ambient::Entropy;
use readvault_store::{
    Error, ErrorKind, Result,
    catalog::{Check, Commit, Outcome, RowKey, Write, change_rows},
};

use crate::{database::Tables, schema::KEY_BYTES_MAX};

/// A row that a commit checks, as the database or an earlier commit of the group left it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Current {
    Absent,
    Version(u64),
    /// Its value does not open.
    Corrupt,
}

/// The rows that the checks of a group concern.
pub(crate) type State<'a> = HashMap<&'a RowKey, Current>;

/// What to answer and what to write.
pub(crate) struct Plan<'a> {
    /// One answer a commit, in their order, if the writing succeeds.
    pub(crate) answers: Vec<Result<Outcome>>,
    /// Version of the last commit that applies; the one before the group if none does.
    pub(crate) last: u64,
    /// What to write.
    pub(crate) writes: Writes<'a>,
}

/// Rows as columns, as the database takes them.
#[derive(Default)]
pub(crate) struct Writes<'a> {
    /// Number, key and sealed value of the rows to put.
    pub(crate) puts: (Vec<i16>, Vec<&'a [u8]>, Vec<Vec<u8>>),
    /// Number and key of the rows to remove.
    pub(crate) deletes: (Vec<i16>, Vec<&'a [u8]>),
    /// Version and sealed value of the entries of the change log.
    pub(crate) changes: (Vec<i64>, Vec<Vec<u8>>),
}

/// The rows that must be known before a group can be planned, each once.
pub(crate) fn checked<'a>(commits: &[&'a Commit]) -> Vec<&'a RowKey> {
    let mut seen = HashSet::new();
    let rows = commits.iter().flat_map(|commit| &commit.checks).map(Check::row);
    rows.filter(|row| seen.insert(*row)).collect()
}

/// The last write of a row, and the version that it bears; none when the row was only looked at.
type Written<'a> = Option<(&'a Write, u64)>;

/// Decides every commit in turn, as if those before it had applied. `state` holds what `checked` named, but
/// for rows of unknown tables.
pub(crate) fn plan<'a>(
    commits: &[&'a Commit],
    last: u64,
    mut state: State<'a>,
    tables: &Tables,
    entropy: &dyn Entropy,
) -> Plan<'a> {
    let mut rows = BTreeMap::<(i16, &[u8]), Written<'a>>::new();
    let mut plan =
        Plan { answers: Vec::with_capacity(commits.len()), last, writes: Writes::default() };
    for commit in commits {
        let answer = judge(commit, &state, tables).map(|conflict| match conflict {
            Some(row) => Outcome::Conflict(row.clone()),
            None => {
                plan.last += 1;
                Outcome::Applied { version: plan.last }
            }
        });
        if let Ok(Outcome::Applied { version }) = answer {
            for write in &commit.writes {
                let row = row_of(write);
                let number = tables.find(row.table).expect("a judged commit knows its tables").0;
                let put = matches!(write, Write::Put(..)).then_some((write, version));
                rows.insert((number, &row.key), put);
                let now = put.map_or(Current::Absent, |_| Current::Version(version));
                state.entry(row).and_modify(|current| *current = now);
            }
            let entry = change_rows::encode(commit.writes.iter().map(row_of));
            let sealed = tables.changes.seal(&change_key(version), version, &entry, entropy);
            plan.writes.changes.0.push(signed(version));
            plan.writes.changes.1.push(sealed);
        }
        plan.answers.push(answer);
    }
    for ((number, key), write) in rows {
        match write {
            Some((Write::Put(row, value), version)) => {
                let (_, sealer) = tables.find(row.table).expect("a written table is known");
                plan.writes.puts.0.push(number);
                plan.writes.puts.1.push(key);
                plan.writes.puts.2.push(sealer.seal(key, version, value, entropy));
            }
            _ => {
                plan.writes.deletes.0.push(number);
                plan.writes.deletes.1.push(key);
            }
        }
    }
    plan
}

/// The key that an entry of the change log is sealed to.
pub(crate) fn change_key(version: u64) -> [u8; 8] {
    version.to_be_bytes()
}

/// A version as the database counts.
pub(crate) fn signed(version: u64) -> i64 {
    i64::try_from(version).expect("fewer than 2^63 commits are ever made")
}

/// The row of the first check that does not hold.
fn judge<'a>(commit: &'a Commit, state: &State<'_>, tables: &Tables) -> Result<Option<&'a RowKey>> {
    for row in commit.writes.iter().map(row_of) {
        tables.find(row.table)?;
        if row.key.len() > KEY_BYTES_MAX {
            return Err(Error::new(ErrorKind::InvalidInput, "the key of a row is too long"));
        }
    }
    for check in &commit.checks {
        let row = check.row();
        tables.find(row.table)?;
        let holds = match (check, state.get(row).copied().unwrap_or(Current::Absent)) {
            (_, Current::Corrupt) => {
                return Err(Error::corrupt("a catalog value does not open under its key"));
            }
            (Check::Absent(_), current) => current == Current::Absent,
            (Check::Version(_, version), current) => current == Current::Version(*version),
        };
        if !holds {
            return Ok(Some(row));
        }
    }
    Ok(None)
}

fn row_of(write: &Write) -> &RowKey {
    let (Write::Put(row, _) | Write::Delete(row)) = write;
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use readvault_ambient::System;
    use readvault_store::{
        catalog::{Table, row::RowSealer},
        seal::{CatalogKey, SecretKey},
    };

    const ALPHA: Table = Table("alpha");

    fn tables() -> Tables {
        let sealer = RowSealer::new(CatalogKey::from_bytes(&[1; 32]));
        Tables::new(&[ALPHA], &HashMap::from([("alpha".to_owned(), 3)]), &sealer)
    }

    fn row(key: &str) -> RowKey {
        RowKey::new(ALPHA, key)
    }

    #[test]
    fn each_commit_is_judged_behind_those_before_it() {
        let mut commits: Vec<Commit> = (0..6).map(|_| Commit::new()).collect();
        commits[0].absent(row("a")).put(row("a"), "1");
        commits[1].absent(row("a")).put(row("b"), "lost");
        commits[2].unchanged(row("a"), 11).put(row("a"), "2").delete(row("c"));
        commits[3].unchanged(row("a"), 11).put(row("b"), "lost");
        commits[4].unchanged(row("a"), 12).delete(row("a"));
        commits[5].absent(row("a")).put(RowKey::new(Table("beta"), "x"), "unknown table");
        let commits: Vec<&Commit> = commits.iter().collect();
        let wanted = checked(&commits);
        assert_eq!(wanted, [&row("a")]);
        let state = wanted.into_iter().map(|row| (row, Current::Absent)).collect();
        let plan = plan(&commits, 10, state, &tables(), &System);
        let answers: Vec<_> = plan.answers.iter().map(|a| a.as_ref().ok().cloned()).collect();
        let applied = |version| Some(Outcome::Applied { version });
        let conflict = || Some(Outcome::Conflict(row("a")));
        assert_eq!(answers, [applied(11), conflict(), applied(12), conflict(), applied(13), None]);
        assert_eq!(plan.last, 13);
        assert_eq!(plan.writes.changes.0, [11, 12, 13]);
        assert!(plan.writes.puts.1.is_empty(), "what a later commit removes is not written");
        assert_eq!(plan.writes.deletes, (vec![3, 3], vec![&b"a"[..], b"c"]));
    }

    #[test]
    fn a_row_that_does_not_open_is_an_error_for_who_checks_it() {
        let mut commits = [Commit::new(), Commit::new()];
        commits[0].absent(row("bad")).put(row("a"), "1");
        commits[1].put(row("b"), "2");
        let commits: Vec<&Commit> = commits.iter().collect();
        let bad = row("bad");
        let plan = plan(&commits, 0, State::from([(&bad, Current::Corrupt)]), &tables(), &System);
        assert_eq!(plan.answers[0].as_ref().unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(plan.answers[1].as_ref().unwrap(), &Outcome::Applied { version: 1 });
        assert_eq!(plan.writes.puts.1, [b"b"]);
    }

    #[test]
    fn a_key_that_no_index_takes_is_refused_before_it_is_sent() {
        let mut commits = [Commit::new(), Commit::new()];
        commits[0].put(row(&"k".repeat(KEY_BYTES_MAX)), "");
        commits[1].put(row(&"k".repeat(KEY_BYTES_MAX + 1)), "");
        let commits: Vec<&Commit> = commits.iter().collect();
        let plan = plan(&commits, 0, State::new(), &tables(), &System);
        assert!(plan.answers[0].is_ok());
        assert_eq!(plan.answers[1].as_ref().unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
