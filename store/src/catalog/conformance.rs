//! The suite that every [`Catalog`] passes.
//!
//! A backend calls [`run`] from one test. What is right is decided by the trait's text and, for
//! random
//! sequences, by the naive model in `model`; nothing here knows how a backend works.

use std::{future::Future, path::Path, sync::Arc};

use bytes::Bytes;

use super::{
    Catalog, Change, Commit, Durability, Fold, Item, Outcome, Page, Row, RowKey, ScanRange, Table,
};
use crate::ErrorKind;

mod commits;
mod model;
mod scans;

/// The tables that a catalog under test must hold.
pub const TABLES: &[Table] = &[ALPHA, BETA];
const ALPHA: Table = Table("alpha");
const BETA: Table = Table("beta");

/// Runs the whole suite on catalogs that `make` gives, each empty and of its own; `reopen` opens
/// the
/// directory that a checkpoint of the newest of them wrote.
///
/// # Panics
/// At the first promise that is not kept.
pub async fn run<M, MF, R, RF>(make: M, reopen: R)
where
    M: Fn() -> MF,
    MF: Future<Output = Arc<dyn Catalog>>,
    R: Fn(&Path) -> RF,
    RF: Future<Output = Arc<dyn Catalog>>,
{
    commits::reads_in_the_order_asked_for(&*make().await).await;
    commits::checks_and_atomicity(&*make().await).await;
    commits::writes_apply_in_order(&*make().await).await;
    commits::versions_increase(&*make().await).await;
    commits::limits(&*make().await).await;
    commits::ordered_commits_are_seen(&*make().await).await;
    commits::changes_are_dense_and_ordered(&*make().await).await;
    commits::concurrent_commits(make().await).await;
    scans::bounds(&*make().await).await;
    scans::groups(&*make().await).await;
    scans::versions(&*make().await).await;
    scans::groups_of_versions(&*make().await).await;
    scans::large_pages_end_early(&*make().await).await;
    checkpoints(&*make().await, reopen).await;
    let catalogs = [make().await, make().await, make().await, make().await];
    model::random_sequences(&catalogs);
}

async fn checkpoints<R, RF>(catalog: &dyn Catalog, reopen: R)
where
    R: Fn(&Path) -> RF,
    RF: Future<Output = Arc<dyn Catalog>>,
{
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let target = scratch.path().join("copy");
    apply(catalog, put_all(ALPHA, &["a", "b"])).await;
    apply(catalog, put_all(BETA, &["c"])).await;
    let before = page(catalog, &ScanRange::prefix(ALPHA, ""), &Fold::default(), 1000).await;
    catalog.checkpoint(&target).await.expect("a checkpoint is written");
    let mut later = put_all(ALPHA, &["d"]);
    later.delete(RowKey::new(ALPHA, "a"));
    apply(catalog, later).await;

    let copy = reopen(&target).await;
    assert_eq!(page(&*copy, &ScanRange::prefix(ALPHA, ""), &Fold::default(), 1000).await, before);
    assert_eq!(keys(&page(&*copy, &ScanRange::prefix(BETA, ""), &Fold::default(), 9).await), ["c"]);
    assert!(target.is_dir());

    let again = catalog.checkpoint(&target).await.expect_err("the target exists");
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    assert_eq!(page(&*copy, &ScanRange::prefix(ALPHA, ""), &Fold::default(), 1000).await, before);
}

/// Commits what must apply; returns its version.
async fn apply(catalog: &dyn Catalog, commit: Commit) -> u64 {
    match catalog.commit(commit).await.expect("the commit is taken") {
        Outcome::Applied { version } => version,
        other => panic!("must apply, but: {other:?}"),
    }
}

fn put_all(table: Table, keys: &[&str]) -> Commit {
    let mut commit = Commit::new();
    for key in keys {
        commit.put(RowKey::new(table, *key), format!("value of {key}"));
    }
    commit
}

async fn get(catalog: &dyn Catalog, table: Table, key: &str) -> Option<Row> {
    let mut rows = catalog.read(&[RowKey::new(table, key)]).await.expect("reads");
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

async fn page(catalog: &dyn Catalog, range: &ScanRange, fold: &Fold, limit: usize) -> Page {
    catalog.scan(range, fold, limit).await.expect("scans")
}

/// Every item of `range`, read by pages of `limit`.
async fn walk(catalog: &dyn Catalog, range: &ScanRange, fold: &Fold, limit: usize) -> Vec<Item> {
    let mut range = range.clone();
    let mut items = Vec::new();
    loop {
        let page = page(catalog, &range, fold, limit).await;
        assert!(page.items.len() <= limit, "a page holds at most its limit");
        assert!(page.next.is_none() || !page.items.is_empty(), "a page makes progress");
        items.extend(page.items);
        match page.next {
            Some(next) => range = range.from(next),
            None => return items,
        }
    }
}

/// The items as text: rows by their key, groups by their name and an ellipsis.
fn names(items: &[Item]) -> Vec<String> {
    let name = |item: &Item| match item {
        Item::Row(row) => String::from_utf8_lossy(&row.key).into_owned(),
        Item::Group(name) => String::from_utf8_lossy(name).into_owned() + "…",
    };
    items.iter().map(name).collect()
}

fn keys(page: &Page) -> Vec<String> {
    names(&page.items)
}

fn value(row: Option<Row>) -> Option<Bytes> {
    row.map(|row| row.value)
}
