//! Reads, commits and the change log.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::catalog::{COMMIT_BYTES_MAX, COMMIT_ROWS_MAX};

/// Increments of one row by several tasks at once, and as many commits of rows of their own.
const TASKS: u64 = 16;
const ROUNDS: u64 = 10;

pub(super) async fn reads_in_the_order_asked_for(catalog: &dyn Catalog) {
    assert_eq!(catalog.read(&[]).await.expect("reads"), []);
    apply(catalog, put_all(ALPHA, &["a", "b", ""])).await;
    apply(catalog, put_all(BETA, &["a"])).await;
    let wanted = [
        RowKey::new(ALPHA, "b"),
        RowKey::new(ALPHA, "nothing"),
        RowKey::new(BETA, "a"),
        RowKey::new(ALPHA, "a"),
        RowKey::new(ALPHA, "b"),
        RowKey::new(BETA, "b"),
        RowKey::new(ALPHA, ""),
    ];
    let rows = catalog.read(&wanted).await.expect("reads");
    let found: Vec<_> = rows.iter().map(|row| row.as_ref().map(|row| &row.key[..])).collect();
    let expected = [Some(&b"b"[..]), None, Some(b"a"), Some(b"a"), Some(b"b"), None, Some(b"")];
    assert_eq!(found, expected);
    assert_ne!(rows[2].as_ref().map(|row| row.version), rows[3].as_ref().map(|row| row.version));
}

pub(super) async fn checks_and_atomicity(catalog: &dyn Catalog) {
    let row = |key: &str| RowKey::new(ALPHA, key);
    let first = apply(catalog, put_all(ALPHA, &["a"])).await;
    let second = apply(catalog, put_all(ALPHA, &["a"])).await;

    // Each commit has one check that fails; it is named, and nothing of the commit applies.
    let mut present = Commit::new();
    present.absent(row("free")).absent(row("a"));
    let mut stale = Commit::new();
    stale.unchanged(row("a"), first);
    let mut missing = Commit::new();
    missing.unchanged(row("a"), second).unchanged(row("free"), second);
    let mut other_table = Commit::new();
    other_table.unchanged(RowKey::new(BETA, "a"), second);
    let failing = [
        (present, row("a")),
        (stale, row("a")),
        (missing, row("free")),
        (other_table, RowKey::new(BETA, "a")),
    ];
    for (mut commit, named) in failing {
        commit.put(row("half"), "half").delete(row("a"));
        let outcome = catalog.commit(commit).await.expect("the commit is taken");
        assert_eq!(outcome, Outcome::Conflict(named));
        assert_eq!(get(catalog, ALPHA, "half").await, None);
        assert_eq!(get(catalog, ALPHA, "a").await.map(|row| row.version), Some(second));
    }

    let mut holding = Commit::new();
    holding.unchanged(row("a"), second).absent(row("b")).delete(row("a")).put(row("b"), "b");
    apply(catalog, holding).await;
    assert_eq!(get(catalog, ALPHA, "a").await, None);
    assert_eq!(value(get(catalog, ALPHA, "b").await), Some(Bytes::from("b")));

    // A removed row is absent again, and a row that is put back has a new version.
    let mut again = Commit::new();
    again.absent(row("a")).put(row("a"), "again");
    assert!(apply(catalog, again).await > second);
}

pub(super) async fn writes_apply_in_order(catalog: &dyn Catalog) {
    let row = |key: &str| RowKey::new(ALPHA, key);
    let mut commit = Commit::new();
    commit.put(row("a"), "1").put(row("a"), "2");
    commit.put(row("b"), "1").delete(row("b"));
    commit.delete(row("c")).put(row("c"), Bytes::new());
    let version = apply(catalog, commit).await;
    assert_eq!(value(get(catalog, ALPHA, "a").await), Some(Bytes::from("2")));
    assert_eq!(get(catalog, ALPHA, "b").await, None);
    let empty = get(catalog, ALPHA, "c").await.expect("an empty value is a value");
    assert_eq!((empty.value, empty.version), (Bytes::new(), version));
}

pub(super) async fn versions_increase(catalog: &dyn Catalog) {
    let mut last = 0;
    for round in 0..20 {
        let commit = if round % 3 == 0 { Commit::new() } else { put_all(BETA, &["a", "b"]) };
        let writes = !commit.writes.is_empty();
        let version = apply(catalog, commit).await;
        assert!(version > last, "versions increase");
        last = version;
        if writes {
            for key in ["a", "b"] {
                assert_eq!(get(catalog, BETA, key).await.map(|row| row.version), Some(version));
            }
        }
    }
}

pub(super) async fn limits(catalog: &dyn Catalog) {
    let rows = |count: usize| {
        let mut commit = Commit::new();
        for index in 0..count {
            commit.put(RowKey::new(ALPHA, index.to_be_bytes()), "v");
        }
        commit
    };
    apply(catalog, rows(COMMIT_ROWS_MAX)).await;
    refused(catalog, rows(COMMIT_ROWS_MAX + 1)).await;
    let mut checks = Commit::new();
    for index in 0..=COMMIT_ROWS_MAX {
        checks.absent(RowKey::new(BETA, index.to_be_bytes()));
    }
    refused(catalog, checks).await;

    let bytes = |length: usize| {
        let mut commit = Commit::new();
        commit.put(RowKey::new(BETA, "big"), vec![7; length - 3]);
        commit
    };
    refused(catalog, bytes(COMMIT_BYTES_MAX + 1)).await;
    assert_eq!(get(catalog, BETA, "big").await, None);
    apply(catalog, bytes(COMMIT_BYTES_MAX)).await;
    let big = get(catalog, BETA, "big").await.expect("the largest row is kept");
    assert_eq!(big.value, vec![7; COMMIT_BYTES_MAX - 3]);
}

async fn refused(catalog: &dyn Catalog, commit: Commit) {
    let error = catalog.commit(commit).await.expect_err("must be refused");
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
}

pub(super) async fn ordered_commits_are_seen(catalog: &dyn Catalog) {
    for round in 0..20_u8 {
        let mut commit = Commit { durability: Durability::Ordered, ..Commit::new() };
        commit.put(RowKey::new(ALPHA, "a"), vec![round]);
        apply(catalog, commit).await;
        assert_eq!(value(get(catalog, ALPHA, "a").await), Some(Bytes::from(vec![round])));
    }
}

pub(super) async fn changes_are_dense_and_ordered(catalog: &dyn Catalog) {
    assert_eq!(changes(catalog, 0, 10).await, []);
    let mut expected = Vec::new();
    for key in ["a", "b", "c", "d", "e"] {
        let mut commit = put_all(ALPHA, &[key]);
        commit.delete(RowKey::new(BETA, key));
        let version = apply(catalog, commit).await;
        expected.push((version, vec![RowKey::new(ALPHA, key), RowKey::new(BETA, key)]));
        let mut failing = put_all(ALPHA, &["x"]);
        failing.absent(RowKey::new(ALPHA, key));
        let outcome = catalog.commit(failing).await.expect("the commit is taken");
        assert!(matches!(outcome, Outcome::Conflict(_)));
    }
    let all = changes(catalog, 0, 100).await;
    let found: Vec<_> = all.iter().map(|change| (change.version, change.rows.clone())).collect();
    assert_eq!(found, expected, "one entry a commit that applied, in order");
    assert!(all.windows(2).all(|pair| pair[1].sequence == pair[0].sequence + 1), "dense");

    assert_eq!(changes(catalog, all[1].sequence, 2).await, all[2..4]);
    assert_eq!(changes(catalog, all[4].sequence, 2).await, []);
    assert_eq!(changes(catalog, u64::MAX, 2).await, []);
    assert_eq!(changes(catalog, 0, 0).await, []);
}

async fn changes(catalog: &dyn Catalog, cursor: u64, limit: usize) -> Vec<Change> {
    catalog.changes(cursor, limit).await.expect("reads the change log")
}

pub(super) async fn concurrent_commits(catalog: Arc<dyn Catalog>) {
    let counter = || RowKey::new(ALPHA, "counter");
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let catalog = Arc::clone(&catalog);
        tasks.spawn(async move {
            let mut versions = Vec::new();
            for round in 0..ROUNDS {
                loop {
                    let now = get(&*catalog, ALPHA, "counter").await;
                    let mut commit = Commit::new();
                    let count = match &now {
                        None => 0,
                        Some(row) => u64::from_le_bytes(row.value[..].try_into().expect("8 bytes")),
                    };
                    match now {
                        None => commit.absent(counter()),
                        Some(row) => commit.unchanged(counter(), row.version),
                    };
                    commit.put(counter(), (count + 1).to_le_bytes().to_vec());
                    commit.put(RowKey::new(BETA, format!("{task}/{round}")), "own");
                    match catalog.commit(commit).await.expect("the commit is taken") {
                        Outcome::Applied { version } => break versions.push(version),
                        Outcome::Conflict(row) => assert_eq!(row, counter()),
                        Outcome::Unknown => panic!("nothing is unknown without a fault"),
                    }
                }
            }
            assert!(versions.is_sorted(), "a later commit has a later version");
            versions
        });
    }
    let versions: Vec<u64> = tasks.join_all().await.concat();
    let total = TASKS * ROUNDS;
    assert_eq!(versions.iter().collect::<BTreeSet<_>>().len() as u64, total, "versions differ");
    let end = get(&*catalog, ALPHA, "counter").await.expect("the counter exists");
    assert_eq!(end.value[..], total.to_le_bytes(), "no increment is lost");
    let own = walk(&*catalog, &ScanRange::prefix(BETA, ""), &Fold::default(), 1000).await;
    assert_eq!(own.len() as u64, total);

    let log = changes(&*catalog, 0, 10_000).await;
    let by_version: BTreeMap<_, _> = log.iter().map(|c| (c.version, c.sequence)).collect();
    assert_eq!(by_version.len() as u64, total);
    assert!(log.is_sorted_by_key(|change| change.sequence));
    assert!(versions.iter().all(|version| by_version.contains_key(version)));
}
