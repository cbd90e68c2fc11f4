//! The tables in the database, and the numbers by which rows name the catalog's tables.

use std::collections::HashMap;

use tokio_postgres::{Client, IsolationLevel, Transaction};

use crate::fault::{Failure, failure};

/// Most bytes of a row's key: an entry of PostgreSQL's index has at most a third of a page.
pub const KEY_BYTES_MAX: usize = 2600;

/// Holds two servers that make the tables at the same moment apart.
const MAKE_LOCK: i64 = 0x5256_4341_5441_4c47;

/// Ciphertext does not compress, so values are not tried. The writer's row changes with every group: room in
/// its page keeps that cheap.
const MAKE: &str = "
    CREATE SCHEMA IF NOT EXISTS readvault;
    CREATE TABLE IF NOT EXISTS readvault.tables (id smallint PRIMARY KEY, name text NOT NULL UNIQUE);
    CREATE TABLE IF NOT EXISTS readvault.rows (
        tab smallint NOT NULL, key bytea NOT NULL, value bytea NOT NULL, PRIMARY KEY (tab, key));
    CREATE TABLE IF NOT EXISTS readvault.changes (version bigint PRIMARY KEY, value bytea NOT NULL);
    CREATE TABLE IF NOT EXISTS readvault.writer (
        id smallint PRIMARY KEY CHECK (id = 0), value bytea NOT NULL) WITH (fillfactor = 20);
    ALTER TABLE readvault.rows ALTER COLUMN value SET STORAGE EXTERNAL;
    ALTER TABLE readvault.changes ALTER COLUMN value SET STORAGE EXTERNAL;";

const EXISTS: &str = "SELECT to_regclass('readvault.writer') IS NOT NULL";

/// Makes what is missing and gives the number of every catalog table that the database knows, those of
/// `names` included.
pub(crate) async fn prepare(
    client: &mut Client,
    names: impl Iterator<Item = &str> + Send,
) -> Result<HashMap<String, i16>, Failure> {
    let failed = failure("preparing the catalog's tables");
    let transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::ReadCommitted)
        .start()
        .await
        .map_err(&failed)?;
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&MAKE_LOCK])
        .await
        .map_err(&failed)?;
    let exists: bool = transaction.query_one(EXISTS, &[]).await.map_err(&failed)?.get(0);
    if !exists {
        transaction.batch_execute(MAKE).await.map_err(&failed)?;
    }
    let rows = transaction.query("SELECT name, id FROM readvault.tables", &[]).await;
    let rows = rows.map_err(&failed)?;
    let mut numbers: HashMap<String, i16> =
        rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    for name in names {
        if numbers.contains_key(name) {
            continue;
        }
        let number = add(&transaction, &numbers, name).await?;
        numbers.insert(name.to_owned(), number);
    }
    transaction.commit().await.map_err(&failed)?;
    Ok(numbers)
}

/// Gives the table `name` the number behind those of `numbers`.
pub(crate) async fn add(
    transaction: &Transaction<'_>,
    numbers: &HashMap<String, i16>,
    name: &str,
) -> Result<i16, Failure> {
    let number = numbers.values().max().map_or(0, |last| last + 1);
    transaction
        .execute("INSERT INTO readvault.tables (id, name) VALUES ($1, $2)", &[&number, &name])
        .await
        .map_err(failure("adding a table to the catalog"))?;
    Ok(number)
}
