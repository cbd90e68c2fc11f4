//! Whether something still uses what is to be erased: runs, jobs, read sets.

use readvault_store::{
    catalog::{Fold, RowKey, ScanRange, Table},
    vault::FileRef,
};

use super::target::{Found, Target};
use crate::{
    Fault, FaultKind,
    core::{Core, decode},
    fault::Result,
    jobs::Job,
    read_set::{self, ReadSetStatus},
    read_set_job::{EXPORT, ReadSetJob, ReadSetJobKind},
    reference::delete::used,
    run::RunSpecRow,
    tables,
};

/// Rows of one scan.
const PAGE: usize = 256;

/// Refuses, and says who, when something uses `found`.
pub(super) async fn refuse_if_used(core: &Core, found: &Found) -> Result<()> {
    if let Some(run) = run_over(core, &found.files).await? {
        return Err(in_use(format!("run {run} reads it: wait for its end or cancel it")));
    }
    match &found.target {
        Target::ReadSet { store, id } => {
            let status = read_set::load(core, store, id).await?.value.status;
            if status == ReadSetStatus::ProcessingUpload {
                return Err(in_use("it is being inspected: wait until that ends".into()));
            }
            if let Some(job) = export_of(core, store, id).await? {
                return Err(in_use(format!("export job {job} reads it: wait for its end")));
            }
        }
        Target::Reference { .. } => {
            if used(core, &found.arn).await? {
                return Err(in_use("a read set uses this reference: erase or delete that".into()));
            }
        }
    }
    Ok(())
}

fn in_use(message: String) -> Fault {
    Fault::new(FaultKind::Conflict, message)
}

/// A run that has not ended and has one of `files` as an input.
async fn run_over(core: &Core, files: &[FileRef]) -> Result<Option<String>> {
    let mut walk = Rows::of(tables::LIVE_RUNS);
    while let Some(rows) = walk.next(core).await? {
        for (key, _) in rows {
            let spec =
                core.load::<RunSpecRow>(&RowKey::new(tables::RUN_SPECS, key.clone())).await?;
            let Some(spec) = spec else { continue };
            let reads = spec
                .value
                .inputs
                .iter()
                .any(|input| files.iter().any(|file| file.manifest == input.file.manifest));
            if reads {
                let text: Vec<u8> = key.into_iter().filter(u8::is_ascii_digit).collect();
                return Ok(Some(String::from_utf8_lossy(&text).into_owned()));
            }
        }
    }
    Ok(None)
}

/// An export job that has not ended and names the read set.
async fn export_of(core: &Core, store: &str, read_set: &str) -> Result<Option<String>> {
    let mut walk = Rows::of(tables::JOBS);
    while let Some(rows) = walk.next(core).await? {
        for (_, value) in rows {
            let job: Job = decode(&value)?;
            let Some((of_store, id)) = export_named(&job) else { continue };
            if of_store != store {
                continue;
            }
            let row = crate::read_set_job::row(EXPORT, store, id);
            let Some(stored) = core.load::<ReadSetJob>(&row).await? else { continue };
            let exports = matches!(stored.value.kind, ReadSetJobKind::Export { .. });
            if exports && stored.value.items.iter().any(|item| item.read_set == read_set) {
                return Ok(Some(stored.value.id));
            }
        }
    }
    Ok(None)
}

/// Store and number of the export that `job` is for.
fn export_named(job: &Job) -> Option<(&str, &str)> {
    (job.kind == crate::read_set_job::export::KIND)
        .then(|| Some((job.spec.get("store")?.as_str()?, job.spec.get("id")?.as_str()?)))
        .flatten()
}

/// The rows of a table, page by page.
struct Rows(Option<ScanRange>);

impl Rows {
    fn of(table: Table) -> Self {
        Self(Some(ScanRange::prefix(table, [])))
    }

    async fn next(&mut self, core: &Core) -> Result<Option<Vec<(Vec<u8>, bytes::Bytes)>>> {
        let Some(range) = self.0.take() else { return Ok(None) };
        let page = core.catalog().scan(&range, &Fold::default(), PAGE).await?;
        self.0 = page.next.clone().map(|next| range.from(next));
        Ok(Some(page.rows().map(|row| (row.key, row.value)).collect()))
    }
}
