//! Tasks of runs: rows, lists, and what the API says of their size.

use std::collections::{BTreeMap, HashMap};

use readvault_exec_protocol::run::{Access, TaskReport, TaskState};
use readvault_store::catalog::{Fold, RowKey, ScanRange};
use serde::{Deserialize, Serialize};

use crate::{
    Fault,
    authorize::Permit,
    core::{Core, Site, decode, key_of, row_of},
    fault::Result,
    listing::{Page, PageOf, page},
    run::Runs,
    tables,
};

/// First number of a task.
pub(crate) const FIRST_ID: u64 = 1_000_000;

/// A task, as its row holds it. Key: (run, id).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its number: seven digits or more.
    pub id: String,
    /// Number of its run.
    pub run: String,
    /// What its supervisor said last.
    pub report: TaskReport,
    /// Milliseconds since 1970 at which it was first heard of.
    pub created_ms: u64,
    /// Index of an input → how it was accessed.
    pub accesses: BTreeMap<u32, Vec<Access>>,
}

impl Task {
    /// Its ARN.
    #[must_use]
    pub fn arn(&self, site: &Site) -> String {
        site.arn("omics", &format!("task/{}", self.id))
    }

    /// The word of the API for its state.
    #[must_use]
    pub fn status(&self) -> &'static str {
        status_word(self.report.state)
    }

    /// Why it failed, in a word of the HealthOmics guide.
    #[must_use]
    pub fn failure_reason(&self) -> Option<&'static str> {
        (self.report.state == TaskState::Failed).then_some(if self.report.out_of_memory {
            "OUT_OF_MEMORY_ERROR"
        } else {
            "RUN_TASK_FAILED"
        })
    }

    /// Cores, rounded up.
    #[must_use]
    pub fn cpus(&self) -> u32 {
        (1..=192).find(|cores| f64::from(*cores) >= self.report.cpus).unwrap_or(192)
    }

    /// GiB of memory, rounded up.
    #[must_use]
    pub fn memory_gib(&self) -> u64 {
        self.report.memory_bytes.div_ceil(1 << 30).max(1)
    }

    /// The smallest HealthOmics instance that would hold it: a label that tools parse.
    #[must_use]
    pub fn instance_type(&self) -> String {
        const SIZES: [(&str, u64); 10] = [
            ("large", 2),
            ("xlarge", 4),
            ("2xlarge", 8),
            ("4xlarge", 16),
            ("8xlarge", 32),
            ("12xlarge", 48),
            ("16xlarge", 64),
            ("24xlarge", 96),
            ("32xlarge", 128),
            ("48xlarge", 192),
        ];
        let (cpus, memory) = (u64::from(self.cpus()), self.memory_gib());
        for (size, cores) in SIZES {
            for (family, ratio) in [("c", 2), ("m", 4), ("r", 8)] {
                if cores >= cpus && cores * ratio >= memory {
                    return format!("omics.{family}.{size}");
                }
            }
        }
        "omics.r.48xlarge".into()
    }
}

/// The word of the API for `state`.
#[must_use]
pub fn status_word(state: TaskState) -> &'static str {
    match state {
        TaskState::Pending => "PENDING",
        TaskState::Starting => "STARTING",
        TaskState::Running => "RUNNING",
        TaskState::Completed => "COMPLETED",
        TaskState::Failed => "FAILED",
        TaskState::Cancelled => "CANCELLED",
    }
}

/// How far along `state` is: a task never goes back.
pub(crate) fn rank(state: TaskState) -> u8 {
    match state {
        TaskState::Pending => 0,
        TaskState::Starting => 1,
        TaskState::Running => 2,
        TaskState::Completed | TaskState::Failed | TaskState::Cancelled => 3,
    }
}

/// The row of task `id` of run `run`.
#[must_use]
pub fn row(run: &str, id: &str) -> RowKey {
    row_of(tables::TASKS, &[run, id])
}

fn range(run: &str) -> ScanRange {
    ScanRange::prefix(tables::TASKS, key_of(&[run]))
}

/// All tasks of run `run`.
pub(crate) async fn all(core: &Core, run: &str) -> Result<Vec<Task>> {
    let mut tasks = Vec::new();
    let mut range = range(run);
    loop {
        let page = core.catalog().scan(&range, &Fold::default(), 256).await?;
        let next = page.next.clone();
        for row in page.rows() {
            tasks.push(decode(&row.value)?);
        }
        match next {
            Some(key) => range = range.from(key),
            None => return Ok(tasks),
        }
    }
}

impl Runs {
    /// Task `id` of run `run`.
    ///
    /// # Errors
    /// `NotFound`; those of the catalog.
    pub async fn task(&self, _permit: &Permit, run: &str, id: &str) -> Result<Task> {
        let found = self.core().load(&row(run, id)).await?;
        let found = found
            .ok_or_else(|| Fault::not_found(format!("there is no task {id:?} of run {run:?}")))?;
        Ok(found.value)
    }

    /// A page of the tasks of run `run`; with `status`, those in it.
    ///
    /// # Errors
    /// `NotFound` for the run; those of the catalog.
    pub async fn tasks(
        &self,
        _permit: &Permit,
        run: &str,
        status: Option<&str>,
        of: &PageOf,
    ) -> Result<Page<Task>> {
        self.load(run).await?;
        let keep = |task: &Task| status.is_none_or(|status| task.status() == status);
        page(self.core(), (tables::TASKS, key_of(&[run])), of, keep).await
    }

    /// UUID → number of every task of run `run`.
    pub(crate) async fn task_numbers(&self, run: &str) -> Result<HashMap<uuid::Uuid, String>> {
        let tasks = all(self.core(), run).await?;
        Ok(tasks.into_iter().map(|task| (task.report.task, task.id)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(cpus: f64, memory_bytes: u64) -> Task {
        let report = TaskReport {
            task: uuid::Uuid::nil(),
            state: TaskState::Failed,
            name: "t".into(),
            image: String::new(),
            image_digest: String::new(),
            argv: Vec::new(),
            cpus,
            memory_bytes,
            exit_code: Some(137),
            out_of_memory: true,
            memory_peak_bytes: None,
            cpu_seconds: None,
            message: None,
            started_ms: None,
            stopped_ms: None,
        };
        let (id, run) = ("1".into(), "2".into());
        Task { id, run, report, created_ms: 0, accesses: BTreeMap::new() }
    }

    #[test]
    fn labels_are_those_of_the_guide() {
        let label = |cpus, gib: u64| task(cpus, gib << 30).instance_type();
        assert_eq!(label(0.5, 1), "omics.c.large");
        assert_eq!(label(2.0, 5), "omics.m.large");
        assert_eq!(label(2.5, 8), "omics.c.xlarge");
        assert_eq!(label(1.0, 16), "omics.r.large");
        assert_eq!(label(f64::NAN, 1), "omics.c.48xlarge");
        assert_eq!(label(500.0, 9999), "omics.r.48xlarge");
        assert_eq!(task(1.0, (1 << 30) + 1).memory_gib(), 2);
        assert_eq!(task(1.0, 1).failure_reason(), Some("OUT_OF_MEMORY_ERROR"));
    }
}
