//! Getting a connection that may write, or learning that there is none to be had.

use readvault_store::{Error, ErrorKind, Result};

use super::{REPEATS_MAX, Writer};
use crate::{fault::Failure, fence::Fence, link::Link};

const FENCED: &str =
    "another server has opened the catalog's database and taken it over; this one can only read";
const ANOTHER_STATE: &str =
    "the catalog's database is not in the state that this server left it in: was it restored?";

impl Writer {
    /// Makes sure of a connection, unless the next try is not due yet.
    pub(super) async fn ready(&mut self) -> Result<()> {
        if let Some(why) = self.ended {
            return Err(Failure::Ended(why).into_error());
        }
        if self.link.as_ref().is_some_and(Link::lives) {
            return Ok(());
        }
        self.link = None;
        if !self.patience.is_over(self.parts.clock.monotonic()) {
            let words = "the catalog's database can't be reached and is not asked again at once";
            return Err(Error::new(ErrorKind::Unavailable, words));
        }
        self.reach().await
    }

    /// Tries to connect once.
    pub(super) async fn reach(&mut self) -> Result<()> {
        match self.relink().await {
            Ok(()) => {
                if self.patience.succeeded() {
                    tracing::info!("the catalog's database takes commits again");
                }
                Ok(())
            }
            Err(Failure::Ended(why)) => Err(self.end(why)),
            Err(failure) => {
                let error = failure.into_error();
                if self.patience.failed(self.parts.clock.monotonic()) {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, cause, "the catalog's database takes no commits");
                }
                Err(error)
            }
        }
    }

    /// Takes no more commits.
    pub(super) fn end(&mut self, why: &'static str) -> Error {
        tracing::error!("{why}; no more commits are taken until this server is started anew");
        self.ended = Some(why);
        self.link = None;
        Failure::Ended(why).into_error()
    }

    /// A new connection that holds the right to write. Of the group in doubt it is known afterwards whether
    /// it committed: `fence.last` says so.
    pub(super) async fn relink(&mut self) -> Result<(), Failure> {
        let (known, doubt, taken) = (self.parts.fence, self.doubt.as_ref(), self.taken);
        let in_doubt = doubt.map(|done| done.last);
        let judge = |found: Option<Fence>| match found {
            None if taken => Err(Failure::Ended(ANOTHER_STATE)),
            Some(found) if taken && found.holder != known.holder => Err(Failure::Ended(FENCED)),
            Some(found) if taken && found.last != known.last && Some(found.last) != in_doubt => {
                Err(Failure::Ended(ANOTHER_STATE))
            }
            found => Ok(Fence {
                number: found.map_or(0, |found| found.number) + 1,
                last: found.map_or(0, |found| found.last),
                ..known
            }),
        };
        let mut link = Link::connect(&self.parts.connector).await?;
        for _ in 0..REPEATS_MAX {
            match link.take(&self.parts.tables.writer, judge, &*self.parts.entropy).await {
                Ok(fence) => {
                    self.parts.fence = fence;
                    self.taken = true;
                    self.doubt = None;
                    self.link = Some(link);
                    return Ok(());
                }
                Err(Failure::Repeat) => link.give_up().await?,
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::Repeat)
    }
}
