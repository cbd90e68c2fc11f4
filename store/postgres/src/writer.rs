//! The one commit loop: takes all waiting commits, applies them in one transaction, answers.
//!
//! A transaction first holds the writer's row and finds it as it was left, then reads what is checked, then
//! writes rows, change log and the writer's row, and commits. When the connection is lost on the way, a new
//! one takes the writer's row, which tells whether the group had committed, and makes sure that it can't
//! commit any more if it had not.

use std::{fmt, sync::Arc, time::Duration};

use readvault_ambient::{Clock, Entropy};
use readvault_store::{
    Error, ErrorKind, Result,
    catalog::{Commit, Outcome, RowKey, limits},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    connect::Connector,
    database::Tables,
    fault::Failure,
    fence::Fence,
    group::{self, Current, Plan},
    link::Link,
    patience::Patience,
};

mod reach;

/// Commits that may wait; more callers wait for a place.
pub(crate) const QUEUE_COMMITS_MAX: usize = 256;
/// Commits of one transaction.
const GROUP_COMMITS_MAX: usize = 64;
/// Bytes of keys and values after which a group is closed.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// Times that a transaction which the database undid because of another one is tried.
pub(crate) const REPEATS_MAX: u32 = 20;
/// Time that one transaction may take before its connection is given up.
const GROUP_TIMEOUT: Duration = Duration::from_secs(60);
/// Time that a group whose outcome is not known waits for the database to come back and tell.
const SETTLE_TIME: Duration = Duration::from_secs(5);
/// A commit and the place of its answer.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) commit: Commit,
    pub(crate) answer: oneshot::Sender<Result<Outcome>>,
}

/// What a writer is made of.
pub(crate) struct WriterParts {
    pub(crate) connector: Connector,
    pub(crate) tables: Arc<Tables>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) clock: Arc<dyn Clock>,
    /// The writer's row as this server knows it: its holder before it is taken, all of it afterwards.
    pub(crate) fence: Fence,
}

/// The state of the commit loop.
pub(crate) struct Writer {
    parts: WriterParts,
    link: Option<Link>,
    patience: Patience,
    /// The group that was sent and not yet answered.
    doubt: Option<Done>,
    /// Whether the writer's row was ever taken.
    taken: bool,
    /// Why no commit can succeed any more.
    ended: Option<&'static str>,
}

/// A group as it will be answered if it commits.
struct Done {
    answers: Vec<Result<Outcome>>,
    /// Version of the last commit that applied.
    last: u64,
    /// The writer's row behind it.
    row: Vec<u8>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("fence", &self.parts.fence).finish_non_exhaustive()
    }
}

impl Writer {
    pub(crate) fn new(parts: WriterParts) -> Self {
        let patience = Patience::default();
        Self { parts, link: None, patience, doubt: None, taken: false, ended: None }
    }

    /// Takes the writer's row: who had it before is fenced off. Fails rather than waits.
    pub(crate) async fn start(&mut self) -> Result<()> {
        self.relink().await.map_err(Failure::into_error)
    }

    /// Serves `queue` until its senders are gone.
    pub(crate) async fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(first) = queue.recv().await {
            let mut bytes = limits::bytes_of(&first.commit);
            let mut jobs = vec![first];
            while bytes < GROUP_BYTES_MAX && jobs.len() < GROUP_COMMITS_MAX {
                let Ok(job) = queue.try_recv() else { break };
                bytes += limits::bytes_of(&job.commit);
                jobs.push(job);
            }
            let commits: Vec<&Commit> = jobs.iter().map(|job| &job.commit).collect();
            let answers = self.serve(&commits).await;
            for (job, answer) in jobs.into_iter().zip(answers) {
                // The caller may have gone; then nobody learns the outcome, as the trait says.
                drop(job.answer.send(answer));
            }
        }
    }

    async fn serve(&mut self, commits: &[&Commit]) -> Vec<Result<Outcome>> {
        for _ in 0..REPEATS_MAX {
            if let Err(error) = self.ready().await {
                return refuse(commits, &error);
            }
            match self.attempt(commits).await {
                Ok(answers) => return answers,
                Err(Failure::Repeat) => self.undo().await,
                Err(Failure::Refused(error)) => {
                    self.undo().await;
                    return refuse(commits, &error);
                }
                Err(Failure::Ended(why)) => return refuse(commits, &self.end(why)),
                Err(Failure::Lost(error)) => {
                    self.link = None;
                    tracing::warn!(%error, "the catalog's database was lost during a commit");
                    if let Some(answers) = self.settle().await {
                        return answers;
                    }
                }
            }
        }
        refuse(commits, &Failure::Repeat.into_error())
    }

    /// One transaction.
    async fn attempt(&mut self, commits: &[&Commit]) -> Result<Vec<Result<Outcome>>, Failure> {
        let Self { parts, link: Some(link), doubt, .. } = self else {
            return Err(Failure::Lost(Error::new(ErrorKind::Unavailable, "no connection")));
        };
        let tables = &*parts.tables;
        let wanted: Vec<_> = group::checked(commits)
            .into_iter()
            .filter(|row| tables.find(row.table).is_ok())
            .collect();
        let rows = in_time(link.hold_and_read(tables, &wanted)).await?;
        let state = wanted.into_iter().zip(rows).map(|(row, value)| {
            let current = match value {
                None => Current::Absent,
                Some(sealed) => parts.opened(row, &sealed),
            };
            (row, current)
        });
        let plan = group::plan(commits, parts.fence.last, state.collect(), tables, &*parts.entropy);
        if plan.last == parts.fence.last {
            in_time(link.give_up()).await?;
            return Ok(plan.answers);
        }
        let fence = Fence { last: plan.last, ..parts.fence };
        let row = fence.seal(&tables.writer, &*parts.entropy);
        let Plan { answers, writes, .. } = plan;
        *doubt = Some(Done { answers, last: fence.last, row: row.clone() });
        match in_time(link.write(&writes, &row, fence.last)).await {
            Ok(()) => {
                let done = doubt.take().expect("the group that was just sent");
                link.row = done.row;
                parts.fence = fence;
                Ok(done.answers)
            }
            Err(failure @ Failure::Lost(_)) => Err(failure),
            Err(failure) => {
                *doubt = None;
                Err(failure)
            }
        }
    }

    async fn undo(&mut self) {
        let Some(link) = &self.link else { return };
        if link.give_up().await.is_err() {
            self.link = None;
        }
    }

    /// Waits for the database and asks it whether the group in doubt had committed. None when it had not,
    /// and can't any more: the same may be tried again.
    async fn settle(&mut self) -> Option<Vec<Result<Outcome>>> {
        let (last, answers) = {
            let doubt = self.doubt.as_mut()?;
            (doubt.last, std::mem::take(&mut doubt.answers))
        };
        let deadline = self.parts.clock.monotonic() + SETTLE_TIME;
        while self.ended.is_none() && self.reach().await.is_err() {
            let now = self.parts.clock.monotonic();
            if now >= deadline {
                break;
            }
            tokio::time::sleep(self.patience.left(now)).await;
        }
        if self.link.is_none() {
            return Some(answers.into_iter().map(in_doubt).collect());
        }
        (self.parts.fence.last == last).then_some(answers)
    }
}

impl WriterParts {
    fn opened(&self, row: &RowKey, sealed: &[u8]) -> Current {
        let opened =
            self.tables.find(row.table).and_then(|(_, sealer)| sealer.open(&row.key, sealed));
        opened.map_or(Current::Corrupt, |(_, version)| Current::Version(version))
    }
}

/// What is answered while nobody knows whether the group committed.
fn in_doubt(answer: Result<Outcome>) -> Result<Outcome> {
    match answer {
        Ok(Outcome::Applied { .. }) => Ok(Outcome::Unknown),
        // A conflict may rest on a commit of this group that never came to be.
        Ok(_) => Err(Error::new(ErrorKind::Unavailable, "the catalog's database was lost")),
        Err(error) => Err(error),
    }
}

/// The same error for every commit.
fn refuse(commits: &[&Commit], error: &Error) -> Vec<Result<Outcome>> {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    let refusal = || {
        let refusal = Error::new(error.kind(), error.to_string());
        match &cause {
            Some(cause) => refusal.because(cause.clone()),
            None => refusal,
        }
    };
    commits.iter().map(|_| Err(refusal())).collect()
}

async fn in_time<T>(step: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(GROUP_TIMEOUT, step).await.unwrap_or_else(|_| {
        let words = "the catalog's database does not answer";
        Err(Failure::Lost(Error::new(ErrorKind::Unavailable, words)))
    })
}
