//! The promises of the catalog in PostgreSQL: the shared suite, and what only a database can break. Each test
//! starts a database server of its own and ends it.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "postgres/cluster.rs"]
mod cluster;
#[path = "postgres/conformance.rs"]
mod conformance;
#[path = "postgres/exports.rs"]
mod exports;
#[path = "postgres/figures.rs"]
mod figures;
#[path = "postgres/losses.rs"]
mod losses;
#[path = "postgres/secrecy.rs"]
mod secrecy;
#[path = "postgres/sharing.rs"]
mod sharing;
#[path = "postgres/tls.rs"]
mod tls;

use std::{path::Path, sync::Arc};

use readvault_ambient::System;
use readvault_store::{
    Result,
    catalog::{
        Catalog, Commit, Durability, Fold, Outcome, Row, RowKey, ScanRange, Table,
        conformance::TABLES, row::RowSealer,
    },
    seal::{CatalogKey, SecretKey},
};
use readvault_store_postgres::{Address, PostgresCatalog, PostgresParams};

use cluster::Cluster;

const ALPHA: Table = TABLES[0];

fn params(url: &str, key: u8) -> PostgresParams {
    PostgresParams {
        address: Address::parse(url, None).unwrap(),
        tables: TABLES.to_vec(),
        sealer: Arc::new(RowSealer::new(CatalogKey::from_bytes(&[key; 32]))),
        entropy: Arc::new(System),
        clock: Arc::new(System),
    }
}

async fn open(url: &str) -> PostgresCatalog {
    PostgresCatalog::open(params(url, 1)).await.expect("opens")
}

fn putting(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Commit {
    let mut commit = Commit::new();
    commit.put(RowKey::new(ALPHA, key), value.into());
    commit
}

async fn put(catalog: &PostgresCatalog, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> u64 {
    match catalog.commit(putting(key, value)).await.expect("the commit is taken") {
        Outcome::Applied { version } => version,
        other => panic!("must apply, but: {other:?}"),
    }
}

/// All rows of the first table.
async fn rows(catalog: &PostgresCatalog) -> Result<Vec<Row>> {
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
fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&path)),
            Ok(kind) if kind.is_file() => found.push(path),
            _ => {}
        }
    }
    found
}
