//! Work that outlives a request: import, inspection, runs.
//!
//! A job is enqueued in the commit that causes it and removed by the commit that ends it. Claiming raises
//! its fence and attempt before any work; each effect's commit checks the job's row, so that a step that
//! runs twice has one effect. After [`ATTEMPTS_MAX`] attempts the handler is told to give up. One process
//! owns the catalog, so a start reclaims every job at once.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use readvault_store::catalog::{Commit, Fold, RowKey, ScanRange};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};

use crate::{
    core::{Core, Stored, decode, encode},
    fault::{Fault, FaultKind, Result},
    tables,
};

/// Attempts of a job before its handler must end it as failed.
pub const ATTEMPTS_MAX: u32 = 5;

/// Jobs that wait in memory; others wait in the catalog until the next sweep.
const QUEUE_MAX: usize = 1024;

/// Longest time for which a job is postponed. A row that says more was written before the wall clock stepped
/// back, and is due.
const DELAY_MAX: Duration = Duration::from_secs(600);

/// Time between two sweeps for jobs whose wake-up was lost.
const SWEEP: Duration = Duration::from_secs(5);

/// One job, as its row holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: uuid::Uuid,
    /// Which handler runs it.
    pub kind: String,
    /// What the handler needs: ids, not copies. ≤ 64 KiB.
    pub spec: serde_json::Value,
    /// Attempts begun.
    pub attempt: u32,
    /// Raised at each claim; effects outside the catalog carry it.
    pub fence: u64,
    /// Not before this time, in milliseconds since 1970.
    pub not_before_ms: u64,
    /// Where the handler goes on. ≤ 4 KiB.
    pub cursor: Option<serde_json::Value>,
}

/// A job that this process claimed.
#[derive(Debug)]
pub struct Claim {
    /// The job as claimed.
    pub job: Job,
    version: std::sync::Mutex<u64>,
}

impl Claim {
    /// Adds to `commit` the check that this claim still holds.
    pub fn guard(&self, commit: &mut Commit) {
        let version = *self.version.lock().expect("no holder of this lock panics");
        commit.unchanged(row(self.job.id), version);
    }

    /// Adds to `commit` the check that this claim still holds, and the end of the job.
    pub fn end(&self, commit: &mut Commit) {
        self.guard(commit);
        commit.delete(row(self.job.id));
    }

    /// Whether the handler must not try again: it ends the job as failed, with the reason it knows.
    #[must_use]
    pub fn last_attempt(&self) -> bool {
        self.job.attempt >= ATTEMPTS_MAX
    }
}

/// What became of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Attempt {
    /// The handler committed [`Claim::end`].
    Ended,
    /// Try again after this time.
    Again(Duration),
}

/// Runs jobs of one kind. Every step may run twice and authorizes again.
#[async_trait]
pub trait JobHandler: Send + Sync {
    /// The kind that it runs.
    fn kind(&self) -> &'static str;

    /// Runs one attempt. An error counts as `Again` with a growing delay.
    ///
    /// # Errors
    /// Whatever stopped the attempt.
    async fn run(&self, claim: &Claim) -> Result<Attempt>;
}

/// Enqueues jobs and, once started, runs them. Cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    core: Core,
    wake: mpsc::Sender<uuid::Uuid>,
    woken: Arc<tokio::sync::Mutex<mpsc::Receiver<uuid::Uuid>>>,
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs").finish_non_exhaustive()
    }
}

fn row(id: uuid::Uuid) -> RowKey {
    RowKey::new(tables::JOBS, id.as_bytes().as_slice())
}

fn is_due(not_before_ms: u64, now_ms: u64) -> bool {
    let delay_ms = u64::try_from(DELAY_MAX.as_millis()).unwrap_or(u64::MAX);
    not_before_ms <= now_ms || not_before_ms - now_ms > delay_ms
}

impl Jobs {
    /// The jobs of `core`; none runs before [`Jobs::run`].
    #[must_use]
    pub fn new(core: Core) -> Self {
        let (wake, woken) = mpsc::channel(QUEUE_MAX);
        Self { core, wake, woken: Arc::new(tokio::sync::Mutex::new(woken)) }
    }

    /// Adds a new job to `commit`; call [`Jobs::wake`] with its id once that applied.
    pub fn enqueue(
        &self,
        commit: &mut Commit,
        kind: &'static str,
        spec: serde_json::Value,
    ) -> uuid::Uuid {
        let id = self.core.uuid();
        let job = Job {
            id,
            kind: kind.into(),
            spec,
            attempt: 0,
            fence: 0,
            not_before_ms: 0,
            cursor: None,
        };
        commit.absent(row(id)).put(row(id), encode(&job));
        id
    }

    /// Lets job `id` run now. A wake-up that finds no room is made up for by the next sweep.
    pub fn wake(&self, id: uuid::Uuid) {
        let _ = self.wake.try_send(id);
    }

    /// Runs jobs, at most `width` at a time, until the future is dropped. Jobs that were running then are
    /// claimed again by the next start.
    pub async fn run(&self, handlers: Vec<Arc<dyn JobHandler>>, width: usize) {
        let handlers: Arc<HashMap<_, _>> =
            Arc::new(handlers.into_iter().map(|handler| (handler.kind(), handler)).collect());
        let room = Arc::new(Semaphore::new(width));
        let running = Arc::new(std::sync::Mutex::new(std::collections::HashSet::new()));
        let mut tasks = tokio::task::JoinSet::new();
        let mut woken = self.woken.lock().await;
        loop {
            while tasks.try_join_next().is_some() {}
            let due = match tokio::time::timeout(SWEEP, woken.recv()).await {
                Ok(Some(id)) => vec![id],
                Ok(None) => return,
                Err(_) => self.due().await.unwrap_or_default(),
            };
            for id in due {
                if !running.lock().expect("no holder of this lock panics").insert(id) {
                    continue;
                }
                let (jobs, handlers) = (self.clone(), handlers.clone());
                let (room, running) = (room.clone(), running.clone());
                tasks.spawn(async move {
                    let _room = room.acquire_owned().await;
                    jobs.attempt(id, &handlers).await;
                    running.lock().expect("no holder of this lock panics").remove(&id);
                });
            }
        }
    }

    /// Wakes every job that the catalog holds: what a start does first.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn resume(&self) -> Result<usize> {
        let due = self.due().await?;
        due.iter().for_each(|id| self.wake(*id));
        Ok(due.len())
    }

    async fn due(&self) -> Result<Vec<uuid::Uuid>> {
        let now = self.core.now_ms();
        let mut due = Vec::new();
        let mut range = ScanRange::prefix(tables::JOBS, []);
        loop {
            let page = self.core.catalog().scan(&range, &Fold::default(), 256).await?;
            let next = page.next.clone();
            for row in page.rows() {
                let job: Job = decode(&row.value)?;
                if is_due(job.not_before_ms, now) {
                    due.push(job.id);
                }
            }
            match next {
                Some(key) if due.len() < QUEUE_MAX => range = range.from(key),
                _ => return Ok(due),
            }
        }
    }

    async fn attempt(&self, id: uuid::Uuid, handlers: &HashMap<&str, Arc<dyn JobHandler>>) {
        let claim = match self.claim(id).await {
            Ok(Some(claim)) => claim,
            Ok(None) => return,
            Err(fault) => return tracing::warn!(job = %id, %fault, "a job could not be claimed"),
        };
        let Some(handler) = handlers.get(claim.job.kind.as_str()) else {
            return tracing::error!(job = %id, kind = claim.job.kind, "no handler for a job");
        };
        let delay = match handler.run(&claim).await {
            Ok(Attempt::Ended) => return,
            Ok(Attempt::Again(delay)) => delay.min(DELAY_MAX),
            Err(fault) => {
                let cause = std::error::Error::source(&fault).map(ToString::to_string);
                tracing::warn!(job = %id, kind = claim.job.kind, %fault, cause, "an attempt failed");
                Duration::from_millis(500) * 2_u32.pow(claim.job.attempt.min(8))
            }
        };
        if let Err(fault) = self.postpone(&claim, delay).await {
            tracing::warn!(job = %id, %fault, "a job could not be postponed");
        }
        let (jobs, id) = (self.clone(), id);
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            jobs.wake(id);
        });
    }

    async fn claim(&self, id: uuid::Uuid) -> Result<Option<Claim>> {
        let Some(Stored { value: mut job, version }) = self.core.load::<Job>(&row(id)).await?
        else {
            return Ok(None);
        };
        job.attempt += 1;
        job.fence += 1;
        let Some(version) = self.rewrite(&job, version).await? else { return Ok(None) };
        Ok(Some(Claim { job, version: std::sync::Mutex::new(version) }))
    }

    async fn postpone(&self, claim: &Claim, delay: Duration) -> Result<()> {
        let version = *claim.version.lock().expect("no holder of this lock panics");
        let mut job = claim.job.clone();
        let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        job.not_before_ms = self.core.now_ms().saturating_add(delay);
        self.rewrite(&job, version).await?;
        Ok(())
    }

    /// Writes the job's row over `version`; its new version, or none when another claim came first.
    async fn rewrite(&self, job: &Job, version: u64) -> Result<Option<u64>> {
        use readvault_store::vault::Committed;
        let mut commit = Commit::new();
        commit.unchanged(row(job.id), version).put(row(job.id), encode(job));
        match self.core.vault().commit(commit.into()).await? {
            Committed::Applied { version } => Ok(Some(version)),
            Committed::Conflict(_) => Ok(None),
        }
    }

    /// Keeps where `claim` stands, so that the next attempt goes on there.
    ///
    /// # Errors
    /// `Conflict` when the claim no longer holds.
    pub async fn checkpoint(&self, claim: &Claim, cursor: serde_json::Value) -> Result<()> {
        let version = *claim.version.lock().expect("no holder of this lock panics");
        let job = Job { cursor: Some(cursor), ..claim.job.clone() };
        let Some(version) = self.rewrite(&job, version).await? else {
            return Err(Fault::new(FaultKind::Conflict, "the job was claimed again"));
        };
        *claim.version.lock().expect("no holder of this lock panics") = version;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_stepped_back_keeps_no_job_waiting() {
        let day = 24 * 3_600_000;
        assert!(is_due(0, 0) && is_due(day, day) && is_due(day - 1, day));
        assert!(!is_due(day + 1, day) && !is_due(day + 600_000, day));
        assert!(is_due(day + 600_001, day) && is_due(2 * day, day) && is_due(u64::MAX, 0));
    }
}
