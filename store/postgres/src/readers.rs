//! The connections that reads share.

use std::{fmt, sync::Arc};

use parking_lot::Mutex;
use readvault_ambient::Clock;
use readvault_store::{Error, ErrorKind, Result};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_postgres::{Client, Row, Statement};

use crate::{
    connect::{Connector, READ_CONNECTIONS_MAX},
    fault::{fault, is_lost},
    patience::Patience,
    statements::{Parameters, Reads},
};

/// Up to [`READ_CONNECTIONS_MAX`] connections, made when needed, each lent to one statement at a time.
pub(crate) struct Readers {
    connector: Connector,
    clock: Arc<dyn Clock>,
    places: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    idle: Vec<Reader>,
    patience: Patience,
}

struct Reader {
    client: Client,
    statements: Reads,
}

/// A connection on loan; it goes back when dropped, if it still lives.
struct Loan<'a> {
    reader: Option<Reader>,
    readers: &'a Readers,
    _place: SemaphorePermit<'a>,
}

impl Readers {
    pub(crate) fn new(connector: Connector, clock: Arc<dyn Clock>) -> Self {
        let places = Semaphore::new(READ_CONNECTIONS_MAX);
        Self { connector, clock, places, state: Mutex::default() }
    }

    /// The rows that the statement chosen by `which` gives. A connection that died while idle is replaced
    /// by a new one, once.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(crate) async fn query(
        &self,
        which: fn(&Reads) -> &Statement,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>> {
        match self.try_query(which, parameters).await? {
            Ok(rows) => return Ok(rows),
            Err(error) if is_lost(&error) => self.state.lock().idle.clear(),
            Err(error) => return Err(fault("reading the catalog")(&error)),
        }
        let again = self.try_query(which, parameters).await?;
        again.map_err(|error| fault("reading the catalog")(&error))
    }

    async fn try_query(
        &self,
        which: fn(&Reads) -> &Statement,
        parameters: Parameters<'_>,
    ) -> Result<Result<Vec<Row>, tokio_postgres::Error>> {
        let loan = self.lend().await?;
        let reader = loan.reader.as_ref().expect("a loan holds its connection until it is dropped");
        Ok(reader.client.query(which(&reader.statements), parameters).await)
    }

    async fn lend(&self) -> Result<Loan<'_>> {
        let gone = |_| Error::new(ErrorKind::Internal, "the catalog's connections are closed");
        let place = self.places.acquire().await.map_err(gone)?;
        let idle = {
            let mut state = self.state.lock();
            state.idle.retain(|reader| !reader.client.is_closed());
            state.idle.pop()
        };
        let reader = match idle {
            Some(reader) => reader,
            None => self.connect().await?,
        };
        Ok(Loan { reader: Some(reader), readers: self, _place: place })
    }

    async fn connect(&self) -> Result<Reader> {
        if !self.state.lock().patience.is_over(self.clock.monotonic()) {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the catalog's database can't be reached and is not asked again at once",
            ));
        }
        let made = self.try_connect().await;
        let mut state = self.state.lock();
        match made {
            Ok(reader) => {
                if state.patience.succeeded() {
                    tracing::info!("the catalog's database is reached again");
                }
                Ok(reader)
            }
            Err(failure) => {
                let error = failure.into_error();
                if state.patience.failed(self.clock.monotonic()) {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, cause, "the catalog's database can't be reached");
                }
                Err(error)
            }
        }
    }

    async fn try_connect(&self) -> Result<Reader, crate::fault::Failure> {
        let client = self.connector.connect().await?;
        let statements = Reads::prepare(&client).await?;
        Ok(Reader { client, statements })
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        let living = self.reader.take().filter(|reader| !reader.client.is_closed());
        self.readers.state.lock().idle.extend(living);
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").field("connector", &self.connector).finish_non_exhaustive()
    }
}
