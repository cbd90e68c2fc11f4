//! Every statement that reads or writes rows, prepared once a connection.

use futures::future::try_join_all;
use tokio_postgres::{Client, Statement, types::ToSql};

use crate::fault::{Failure, failure};

/// Values in the order of the keys. A subquery, not a join: each key is looked up in the index.
const READ: &str = "
    SELECT (SELECT r.value FROM readvault.rows r WHERE r.tab = k.tab AND r.key = k.key)
    FROM unnest($1::smallint[], $2::bytea[]) WITH ORDINALITY AS k (tab, key, n)
    ORDER BY k.n";

/// Entries of the change log after a version.
const CHANGES: &str = "
    SELECT version, value FROM readvault.changes WHERE version > $1::bigint
    ORDER BY version LIMIT $2::bigint";

/// The writer's row, held until the transaction ends.
pub(crate) const HOLD: &str = "SELECT value FROM readvault.writer WHERE id = 0 FOR UPDATE";

/// Replaces the writer's row.
pub(crate) const ADVANCE: &str = "
    INSERT INTO readvault.writer (id, value) VALUES (0, $1::bytea)
    ON CONFLICT (id) DO UPDATE SET value = excluded.value";

/// Writes rows, whether or not they exist.
pub(crate) const PUT: &str = "
    INSERT INTO readvault.rows (tab, key, value)
    SELECT * FROM unnest($1::smallint[], $2::bytea[], $3::bytea[])
    ON CONFLICT (tab, key) DO UPDATE SET value = excluded.value";

/// Adds entries to the change log.
pub(crate) const LOG: &str = "
    INSERT INTO readvault.changes (version, value) SELECT * FROM unnest($1::bigint[], $2::bytea[])";

const DELETE: &str = "
    DELETE FROM readvault.rows r USING unnest($1::smallint[], $2::bytea[]) AS d (tab, key)
    WHERE r.tab = d.tab AND r.key = d.key";

const TRIM: &str = "DELETE FROM readvault.changes WHERE version <= $1::bigint";

/// A statement's parameters.
pub(crate) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// What a connection reads with.
pub(crate) struct Reads {
    pub(crate) read: Statement,
    pub(crate) scan: Statement,
    pub(crate) fold: Statement,
    pub(crate) changes: Statement,
}

impl Reads {
    pub(crate) async fn prepare(client: &Client) -> Result<Self, Failure> {
        let texts = [READ, crate::scan::PLAIN, crate::scan::FOLDED, CHANGES];
        let [read, scan, fold, changes] = prepare(client, texts).await?;
        Ok(Self { read, scan, fold, changes })
    }
}

/// What a connection commits with.
pub(crate) struct Writes {
    pub(crate) hold: Statement,
    pub(crate) read: Statement,
    pub(crate) put: Statement,
    pub(crate) delete: Statement,
    pub(crate) log: Statement,
    pub(crate) trim: Statement,
    pub(crate) advance: Statement,
}

impl Writes {
    pub(crate) async fn prepare(client: &Client) -> Result<Self, Failure> {
        let texts = [HOLD, READ, PUT, DELETE, LOG, TRIM, ADVANCE];
        let [hold, read, put, delete, log, trim, advance] = prepare(client, texts).await?;
        Ok(Self { hold, read, put, delete, log, trim, advance })
    }
}

async fn prepare<const N: usize>(
    client: &Client,
    texts: [&str; N],
) -> Result<[Statement; N], Failure> {
    let prepared = try_join_all(texts.map(|text| client.prepare(text))).await;
    let prepared = prepared.map_err(failure("preparing the catalog's statements"))?;
    Ok(prepared.try_into().expect("each text gave a statement"))
}
