//! The catalog itself: reads on shared connections, commits through the writer's.

use std::{fmt, path::Path, sync::Arc};

use async_trait::async_trait;
use readvault_ambient::{Clock, Entropy, random};
use readvault_store::{
    Error, ErrorKind, Result,
    catalog::{
        Catalog, Change, Commit, Fold, Outcome, Page, Row, RowKey, ScanRange, Table, change_rows,
        limits, row::RowSealer,
    },
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use crate::{
    connect::{Address, Connector},
    database::{OWN_TABLES, Tables},
    export,
    fault::Failure,
    fence::Fence,
    group::change_key,
    load,
    readers::Readers,
    scan::{self, Step, Walk},
    schema,
    statements::Parameters,
    writer::{Job, QUEUE_COMMITS_MAX, Writer, WriterParts},
};

/// Most entries that one call of `changes` gives.
const CHANGES_MAX: usize = 65_536;

/// What a catalog is made of.
#[derive(Debug)]
pub struct PostgresParams {
    /// Where the database is. All of a catalog stands in its schema `readvault`.
    pub address: Address,
    /// The tables that may be used; one that is not there yet is added.
    pub tables: Vec<Table>,
    /// Seals values.
    pub sealer: Arc<RowSealer>,
    /// Salts, and the name of this server.
    pub entropy: Arc<dyn Entropy>,
    /// Says when to try again.
    pub clock: Arc<dyn Clock>,
}

/// A catalog in a database, which this server alone writes to.
///
/// `commit` queues for one task, which applies all that wait in one serializable transaction; the other
/// methods read on a few shared connections. When the database can't be reached, calls fail with
/// `Unavailable` and connections are made again, by and by less often, as calls come. Every commit is
/// synced before it is answered, ordered ones as well.
pub struct PostgresCatalog {
    parts: Arc<Parts>,
    queue: mpsc::Sender<Job>,
}

struct Parts {
    connector: Connector,
    tables: Arc<Tables>,
    sealer: Arc<RowSealer>,
    entropy: Arc<dyn Entropy>,
    readers: Readers,
}

impl PostgresCatalog {
    /// Opens the catalog in the database, or makes a new one, and fences off whoever had it open before:
    /// commits of theirs that are under way end or fail first, later ones fail with `Unavailable`.
    ///
    /// The tasks of this catalog live in the runtime that calls, until it is dropped; commits that were
    /// already taken are then still applied.
    ///
    /// # Errors
    /// `KeyUnavailable` when it was written under another catalog key; `Corrupt` when its writer's row is
    /// missing; `InvalidInput` for a table whose name begins with `rv.`; `NoSpace`; `Unavailable`.
    pub async fn open(params: PostgresParams) -> Result<Self> {
        if params.tables.iter().any(|table| table.0.starts_with(OWN_TABLES) || table.0.is_empty()) {
            return Err(Error::new(ErrorKind::InvalidInput, "a table name is reserved"));
        }
        let connector = Connector::new(params.address, Handle::current());
        let mut client = connector.connect().await.map_err(Failure::into_error)?;
        let names = params.tables.iter().map(|table| table.0);
        let numbers = schema::prepare(&mut client, names).await.map_err(Failure::into_error)?;
        drop(client);
        let tables = Arc::new(Tables::new(&params.tables, &numbers, &params.sealer));
        let mut writer = Writer::new(WriterParts {
            connector: connector.clone(),
            tables: Arc::clone(&tables),
            entropy: Arc::clone(&params.entropy),
            clock: Arc::clone(&params.clock),
            fence: Fence { number: 0, holder: random(&*params.entropy), last: 0 },
        });
        writer.start().await?;
        let (queue, jobs) = mpsc::channel(QUEUE_COMMITS_MAX);
        connector.runtime().spawn(writer.run(jobs));
        let parts = Parts {
            readers: Readers::new(connector.clone(), params.clock),
            connector,
            tables,
            sealer: params.sealer,
            entropy: params.entropy,
        };
        Ok(Self { parts: Arc::new(parts), queue })
    }

    /// Fills an empty database with the checkpoint that [`Catalog::checkpoint`] wrote into `directory`, then
    /// opens it. All of the checkpoint is there, or nothing.
    ///
    /// # Errors
    /// `AlreadyExists` when the database holds a catalog; `KeyUnavailable` when the checkpoint was written
    /// under another catalog key; `Corrupt` when it is damaged or cut; otherwise as [`Self::open`].
    pub async fn load(params: PostgresParams, directory: &Path) -> Result<Self> {
        let connector = Connector::new(params.address.clone(), Handle::current());
        load::load(&connector, &params.sealer, directory).await?;
        Self::open(params).await
    }
}

impl fmt::Debug for PostgresCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresCatalog")
            .field("connector", &self.parts.connector)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Catalog for PostgresCatalog {
    async fn read(&self, keys: &[RowKey]) -> Result<Vec<Option<Row>>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let tables = &*self.parts.tables;
        let (numbers, names) = tables.columns(keys.iter())?;
        let rows = self.parts.readers.query(|reads| &reads.read, &[&numbers, &names]).await?;
        let open = |(key, row): (&RowKey, &tokio_postgres::Row)| {
            let sealed: Option<&[u8]> = column(row, 0)?;
            let Some(sealed) = sealed else { return Ok(None) };
            let (value, version) = tables.find(key.table)?.1.open(&key.key, sealed)?;
            Ok(Some(Row { key: key.key.clone(), value, version }))
        };
        keys.iter().zip(&rows).map(open).collect()
    }

    async fn scan(&self, range: &ScanRange, fold: &Fold, limit: usize) -> Result<Page> {
        let walk = Walk::new(range, fold, limit)?;
        let (number, sealer) = self.parts.tables.find(range.table)?;
        let Walk { start, end, steps, bytes, after, delimiter, suffix, last_suffix } = &walk;
        let rows = if walk.folds() {
            let parameters: Parameters<'_> =
                &[&number, start, end, steps, bytes, after, delimiter, suffix, last_suffix];
            self.parts.readers.query(|reads| &reads.fold, parameters).await?
        } else {
            let parameters: Parameters<'_> = &[&number, start, end, steps, bytes];
            self.parts.readers.query(|reads| &reads.scan, parameters).await?
        };
        let step =
            |row| -> Result<Step<'_>> { Ok((column(row, 0)?, column(row, 1)?, column(row, 2)?)) };
        scan::page(rows.iter().map(step), limit, sealer)
    }

    async fn commit(&self, commit: Commit) -> Result<Outcome> {
        limits::admit(&commit)?;
        let (answer, outcome) = oneshot::channel();
        let gone = |_| Error::new(ErrorKind::Unavailable, "the catalog writer has ended");
        self.queue.send(Job { commit, answer }).await.map_err(gone)?;
        // Taken but not answered: the writer's runtime has ended.
        outcome.await.unwrap_or(Ok(Outcome::Unknown))
    }

    async fn changes(&self, cursor: u64, limit: usize) -> Result<Vec<Change>> {
        let Ok(cursor) = i64::try_from(cursor) else { return Ok(Vec::new()) };
        let limit = i64::try_from(limit.min(CHANGES_MAX)).expect("a small number");
        let tables = &*self.parts.tables;
        let rows = self.parts.readers.query(|reads| &reads.changes, &[&cursor, &limit]).await?;
        let open = |row| {
            let malformed = || Error::corrupt("a change log entry");
            let version = u64::try_from(column::<i64>(row, 0)?).map_err(|_| malformed())?;
            let (value, sealed_as) = tables.changes.open(&change_key(version), column(row, 1)?)?;
            let rows = change_rows::decode(&value, |name| tables.named(name));
            let rows = rows.filter(|_| sealed_as == version).ok_or_else(malformed)?;
            Ok(Change { sequence: version, version, rows })
        };
        rows.iter().map(open).collect()
    }

    async fn checkpoint(&self, target: &Path) -> Result<()> {
        let (parts, target) = (Arc::clone(&self.parts), target.to_path_buf());
        let runtime = parts.connector.runtime().clone();
        let written = runtime.spawn(async move {
            export::export(&parts.connector, &parts.sealer, &*parts.entropy, &target).await
        });
        written.await.unwrap_or_else(|cause| {
            Err(Error::new(ErrorKind::Internal, "writing a catalog checkpoint").because(cause))
        })
    }
}

/// A column of an answer.
fn column<'a, T>(row: &'a tokio_postgres::Row, index: usize) -> Result<T>
where
    T: tokio_postgres::types::FromSql<'a>,
{
    row.try_get(index)
        .map_err(|_| Error::new(ErrorKind::Internal, "an answer of the catalog's database"))
}
