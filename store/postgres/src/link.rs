//! A connection that holds the right to write: the transactions that it speaks.

use futures::try_join;
use readvault_ambient::Entropy;
use readvault_store::{
    Error, ErrorKind,
    catalog::{RowKey, row::TableSealer},
};
use tokio_postgres::{Client, Row};

use crate::{
    connect::Connector,
    database::Tables,
    fault::{Failure, failure},
    fence::Fence,
    group::{self, Writes as Columns},
    statements::{Parameters, Writes},
};

/// Entries of the change log that are kept.
const CHANGES_KEPT: u64 = 65_536;

const BEGIN: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE";
const ROWS_EXIST: &str = "SELECT EXISTS (SELECT 1 FROM readvault.rows)";

/// Another server's, or this server's former, hand in the row.
const NOT_AS_LEFT: &str = "the writer's row of the catalog";

/// The connection, its statements, and the writer's row as it was left.
pub(crate) struct Link {
    client: Client,
    statements: Writes,
    pub(crate) row: Vec<u8>,
}

impl Link {
    /// A new connection, without the right to write.
    pub(crate) async fn connect(connector: &Connector) -> Result<Self, Failure> {
        let client = connector.connect().await?;
        let statements = Writes::prepare(&client).await?;
        Ok(Self { client, statements, row: Vec::new() })
    }

    pub(crate) fn lives(&self) -> bool {
        !self.client.is_closed()
    }

    /// Takes the writer's row, durably, as `judge` makes it from the one that is there. A group that another
    /// connection has under way ends before, or fails.
    pub(crate) async fn take(
        &mut self,
        sealer: &TableSealer,
        judge: impl Fn(Option<Fence>) -> Result<Fence, Failure> + Send,
        entropy: &dyn Entropy,
    ) -> Result<Fence, Failure> {
        let failed = failure("taking the writer's row of the catalog");
        let (client, statements) = (&self.client, &self.statements);
        let begin = client.batch_execute(BEGIN);
        let (_, rows) = try_join!(begin, client.query(&statements.hold, &[])).map_err(&failed)?;
        let found = match rows.first() {
            Some(row) => Some(open(sealer, row)?),
            None => {
                let exist = client.query_one(ROWS_EXIST, &[]).await.map_err(&failed)?;
                if exist.get(0) {
                    let error = Error::corrupt("the catalog has rows and no writer's row");
                    return Err(Failure::Refused(error));
                }
                None
            }
        };
        let fence = judge(found)?;
        let row = fence.seal(sealer, entropy);
        let parameters: Parameters<'_> = &[&row];
        let advance = client.execute(&statements.advance, parameters);
        try_join!(advance, client.batch_execute("COMMIT")).map_err(&failed)?;
        self.row = row;
        Ok(fence)
    }

    /// Begins a transaction, finds the writer's row as it was left, and reads the sealed values of `rows`.
    pub(crate) async fn hold_and_read(
        &self,
        tables: &Tables,
        rows: &[&RowKey],
    ) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        let failed = failure("reading what a commit checks");
        let (numbers, keys) = tables.columns(rows.iter().copied()).map_err(Failure::Refused)?;
        let (client, statements) = (&self.client, &self.statements);
        // Sent at once and answered in this order: one round trip.
        let begin = client.batch_execute(BEGIN);
        let hold = client.query(&statements.hold, &[]);
        let read = async {
            if rows.is_empty() {
                return Ok(Vec::new());
            }
            client.query(&statements.read, &[&numbers, &keys]).await
        };
        let (_, held, values) = try_join!(begin, hold, read).map_err(&failed)?;
        let left = held.first().is_some_and(|row| row.get::<_, &[u8]>(0) == self.row);
        if !left {
            // A new connection looks at the row and finds out why.
            return Err(Failure::Lost(Error::new(ErrorKind::Unavailable, NOT_AS_LEFT)));
        }
        Ok(values.iter().map(|row| row.get::<_, Option<Vec<u8>>>(0)).collect())
    }

    /// Writes a group and commits: durable when this returns.
    pub(crate) async fn write(
        &self,
        columns: &Columns<'_>,
        row: &[u8],
        last: u64,
    ) -> Result<(), Failure> {
        let failed = failure("writing a commit");
        let (client, statements) = (&self.client, &self.statements);
        let Columns { puts, deletes, changes } = columns;
        let oldest = group::signed(last.saturating_sub(CHANGES_KEPT));
        let puts: Parameters<'_> = &[&puts.0, &puts.1, &puts.2];
        let deletes: Parameters<'_> = &[&deletes.0, &deletes.1];
        let changes: Parameters<'_> = &[&changes.0, &changes.1];
        let (oldest, row): (Parameters<'_>, Parameters<'_>) = (&[&oldest], &[&row]);
        // Sent at once and answered in this order: one round trip. When one fails, the database
        // undoes all, and its answer to the COMMIT is that of a ROLLBACK.
        try_join!(
            client.execute(&statements.put, puts),
            client.execute(&statements.delete, deletes),
            client.execute(&statements.log, changes),
            client.execute(&statements.trim, oldest),
            client.execute(&statements.advance, row),
            client.batch_execute("COMMIT"),
        )
        .map_err(&failed)?;
        Ok(())
    }

    /// Ends a transaction without a trace.
    pub(crate) async fn give_up(&self) -> Result<(), Failure> {
        self.client.batch_execute("ROLLBACK").await.map_err(failure("ending a transaction"))
    }
}

fn open(sealer: &TableSealer, row: &Row) -> Result<Fence, Failure> {
    Fence::open(sealer, row.get(0)).map_err(|cause| {
        let words = "the catalog in the database does not open under this key";
        Failure::Refused(Error::new(ErrorKind::KeyUnavailable, words).because(cause))
    })
}
