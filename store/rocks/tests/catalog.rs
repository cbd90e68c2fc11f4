//! The promises of the catalog on RocksDB: the shared suite, and what only a disk can break.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "catalog/conformance.rs"]
mod conformance;
#[path = "catalog/crash.rs"]
mod crash;
#[path = "catalog/damage.rs"]
mod damage;
#[path = "catalog/reopen.rs"]
mod reopen;
#[path = "catalog/secrecy.rs"]
mod secrecy;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use readvault_ambient::System;
use readvault_store::{
    Result,
    catalog::{
        Catalog, Commit, Durability, Fold, Outcome, Row, RowKey, ScanRange, Table,
        conformance::TABLES, row::RowSealer,
    },
    seal::{CatalogKey, SecretKey},
};
use readvault_store_rocks::RocksCatalog;

const ALPHA: Table = TABLES[0];

fn open_with(directory: &Path, key: u8) -> Result<RocksCatalog> {
    let sealer = RowSealer::new(CatalogKey::from_bytes(&[key; 32]));
    RocksCatalog::open(directory, TABLES, Arc::new(sealer), Arc::new(System))
}

fn open(directory: &Path) -> RocksCatalog {
    open_with(directory, 1).expect("opens")
}

async fn put(catalog: &RocksCatalog, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> u64 {
    put_as(catalog, key, value, Durability::Synced).await
}

async fn put_as(
    catalog: &RocksCatalog,
    key: impl Into<Vec<u8>>,
    value: impl Into<Vec<u8>>,
    durability: Durability,
) -> u64 {
    let mut commit = Commit { durability, ..Commit::new() };
    commit.put(RowKey::new(ALPHA, key), value.into());
    match catalog.commit(commit).await.expect("the commit is taken") {
        Outcome::Applied { version } => version,
        other => panic!("must apply, but: {other:?}"),
    }
}

/// All rows of the first table.
async fn rows(catalog: &RocksCatalog) -> Result<Vec<Row>> {
    let mut range = ScanRange::prefix(ALPHA, "");
    let mut rows = Vec::new();
    loop {
        let page = catalog.scan(&range, &Fold::default(), 1000).await?;
        let next = page.next.clone();
        rows.extend(page.rows());
        match next {
            Some(next) => range = range.from(next),
            None => return Ok(rows),
        }
    }
}

/// Every file below `directory`.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// The catalog's files as a crash would leave them now: a copy while it is open.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for path in files(from) {
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}
