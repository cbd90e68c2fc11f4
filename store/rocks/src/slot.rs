//! The place of the open database, from which the writer takes it to open it anew.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use readvault_store::{Error, ErrorKind, Result};
use tokio::sync::Notify;

use crate::database::{Database, Shared};

/// Time for which a read waits while the catalog is opened anew.
const REOPEN_WAIT: Duration = Duration::from_secs(10);

/// Time for which the writer waits until no read uses the database that it takes.
const TAKE_TRIES: u32 = 2000;
const TAKE_PAUSE: Duration = Duration::from_millis(5);

/// Holds the open database; empty while it is opened anew.
pub(crate) struct Slot {
    database: RwLock<Option<Shared>>,
    filled: Notify,
}

impl Slot {
    pub(crate) fn new(database: Database) -> Self {
        Self { database: RwLock::new(Some(Arc::new(database))), filled: Notify::new() }
    }

    /// The database, when it is open now.
    pub(crate) fn now(&self) -> Option<Shared> {
        self.database.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The database, once it is open; waits for that at most [`REOPEN_WAIT`].
    pub(crate) async fn get(&self) -> Result<Shared> {
        if let Some(database) = self.now() {
            return Ok(database);
        }
        let opened = tokio::time::timeout(REOPEN_WAIT, async {
            loop {
                let filled = self.filled.notified();
                if let Some(database) = self.now() {
                    return database;
                }
                filled.await;
            }
        });
        opened
            .await
            .map_err(|_| Error::new(ErrorKind::Unavailable, "the catalog is being opened anew"))
    }

    /// Takes the database once no read uses it; none when reads hold on to it, which stays open then.
    pub(crate) fn take(&self) -> Option<Database> {
        let taken = self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        let mut shared = taken?;
        for _ in 0..TAKE_TRIES {
            match Arc::try_unwrap(shared) {
                Ok(database) => return Some(database),
                Err(used) => shared = used,
            }
            std::thread::sleep(TAKE_PAUSE);
        }
        self.fill(shared);
        None
    }

    pub(crate) fn put(&self, database: Database) {
        self.fill(Arc::new(database));
    }

    fn fill(&self, shared: Shared) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(shared);
        self.filled.notify_waiters();
    }
}
