//! The end of a run: outputs, record and state become visible by one commit, or a reason does.

use std::collections::BTreeSet;

use futures::stream;
use readvault_exec_protocol::{
    run::{RunOutcome, RunReport},
    source::SourceError,
};
use readvault_store::vault::VaultCommit;
use serde_json::Value;

use super::{
    Run, Runs,
    live::{LiveRun, unavailable},
    live_row, manifest,
    objects::PendingObject,
    provenance::{self, Ending, Output},
    record_row, row,
    sink::OUTPUTS_DOCUMENT,
};
use crate::{
    Fault, FaultKind,
    core::{Stored, contended, encode},
    fault::Result,
    run_log, task,
};

/// Key of the object that stands where an output file is named.
const OUTPUT: &str = "$output";

/// The output that is the engine's log.
const ENGINE_LOG: &str = "logs/engine.log";

/// The failure reasons that the HealthOmics guide names.
const REASONS: [&str; 26] = [
    "ASSUME_ROLE_FAILED",
    "CANNOT_START_CONTAINER_ERROR",
    "CANNOT_START_CONTAINER_SIZE_ERROR",
    "ECR_PERMISSION_ERROR",
    "EXPORT_FAILED",
    "FILE_SYSTEM_OUT_OF_SPACE",
    "IMAGE_VERIFICATION_FAILURE",
    "IMPORT_FAILED",
    "INACTIVE_OMICS_STORAGE_RESOURCE",
    "INPUT_URI_NOT_FOUND",
    "INSTANCE_RESERVATION_FAILED",
    "ALL_PROFILES_INSTANCE_RESERVATION_FAILED",
    "INVALID_ECR_IMAGE_URI",
    "INVALID_RUN_PARAMETERS",
    "INVALID_TASK_RESOURCE_VALUE",
    "INVALID_URI_INPUT",
    "MODIFIED_INPUT_RESOURCE",
    "OUT_OF_MEMORY_ERROR",
    "RUN_TASK_FAILED",
    "RUN_TIMED_OUT",
    "SERVICE_ERROR",
    "TASK_TIMED_OUT",
    "UNSUPPORTED_GPU_INSTANCE_TYPE",
    "UNSUPPORTED_INPUT_SIZE",
    "WORKFLOW_RUN_FAILED",
    "WORKFLOW_VER_VALIDATION_FAILED",
];

/// Why outputs were not exported.
enum ExportError {
    /// The run may say again what is missing, or try later; nothing has changed.
    Again(SourceError),
    /// The run has failed; what it staged is void.
    Failed(String),
}

impl Runs {
    /// Ends a run as its supervisor reports; its lock is held.
    pub(crate) async fn finish_run(
        &self,
        live: &LiveRun,
        report: RunReport,
    ) -> Result<(), SourceError> {
        let stored = self.load(&live.id).await.map_err(|fault| unavailable(&fault))?;
        let Stored { value: mut run, version } = stored;
        if run.status.is_terminal() || run.token_sha256.as_ref() != Some(&live.token_sha256) {
            return Err(SourceError::Revoked("the run has ended".into()));
        }
        run.engine_digest = Some(report.engine_digest.clone());
        run.engine_version = Some(report.engine_version.clone());
        run.scratch_peak_bytes = Some(report.scratch_peak_bytes);
        let mut outcome = judged(&report.outcome, run.cancel_requested);
        if outcome == RunOutcome::Completed {
            match self.export(live, Stored { value: run.clone(), version }, &report).await {
                Ok(()) => return Ok(()),
                Err(ExportError::Again(error)) => return Err(error),
                Err(ExportError::Failed(message)) => {
                    outcome = RunOutcome::Failed { reason: "EXPORT_FAILED".into(), message };
                }
            }
        }
        // Of a run that did not succeed, only the engine's log leaves.
        live.outputs.lock().retain(|path, _| path == ENGINE_LOG);
        if matches!(outcome, RunOutcome::Failed { .. })
            && let Err(fault) = self.stage_engine_log(live).await
        {
            tracing::warn!(run = live.id, %fault, "the engine's log was not exported");
        }
        if outcome == RunOutcome::Cancelled {
            live.outputs.lock().clear();
        }
        let (outputs, puts) = take_outputs(live);
        let ended = Stored { value: run.clone(), version };
        if let Err(fault) = self.end(ended, &outcome, puts, outputs).await {
            tracing::warn!(run = live.id, %fault, "a run is ended without its engine's log");
            let now = self.load(&live.id).await.map_err(|fault| unavailable(&fault))?;
            let ended = Stored { value: run, version: now.version };
            self.end_without_outputs(ended, &outcome).await.map_err(|fault| unavailable(&fault))?;
        }
        Ok(())
    }

    /// Stages the server's own outputs, then makes all of them and the end of the run visible at once.
    async fn export(
        &self,
        live: &LiveRun,
        stored: Stored<Run>,
        report: &RunReport,
    ) -> Result<(), ExportError> {
        if let Some(document) = &report.outputs {
            let mut named = BTreeSet::new();
            let document = replace_outputs(document, &live.run_output_uri, &mut named);
            let missing = named.iter().find(|path| !live.outputs.lock().contains_key(**path));
            if let Some(path) = missing {
                let shown: String = path.chars().take(200).collect();
                return Err(ExportError::Again(SourceError::Invalid(format!(
                    "output {shown:?} is not staged; send it again"
                ))));
            }
            let text = serde_json::to_vec_pretty(&document).expect("a JSON value serialises");
            let body = Box::pin(stream::iter([Ok(text.into())]));
            self.stage_output(live, OUTPUTS_DOCUMENT, body).await.map_err(export_error)?;
        }
        self.stage_engine_log(live).await.map_err(export_error)?;
        if !live.permit.live() {
            return Err(ExportError::Failed("the run's role may no longer write there".into()));
        }
        let (outputs, puts) = take_outputs(live);
        match self.end(stored, &RunOutcome::Completed, puts, outputs).await {
            Ok(()) => Ok(()),
            Err(fault) if fault.kind == FaultKind::QuotaExceeded => {
                Err(ExportError::Failed("the outputs are too many for one commit".into()))
            }
            Err(fault) if is_contended(&fault) => Err(ExportError::Failed(
                "another writer changed an output's key or the bucket at the same moment".into(),
            )),
            Err(fault) => Err(export_error(fault)),
        }
    }

    /// The engine's log as an output, from what was logged, unless the run has staged it whole.
    async fn stage_engine_log(&self, live: &LiveRun) -> Result<()> {
        let name = run_log::engine_stream(&live.id);
        let staged = live.outputs.lock().contains_key(ENGINE_LOG);
        if staged || run_log::load(self.core(), &name).await?.is_none() {
            return Ok(());
        }
        let text = run_log::text(self.core(), &name);
        self.stage_output(live, ENGINE_LOG, text).await.map(drop)
    }

    /// Ends a run that no supervisor speaks for; its lock is held.
    pub(crate) async fn end_unstarted(&self, id: &str, outcome: &RunOutcome) -> Result<()> {
        let stored = self.load(id).await?;
        if stored.value.status.is_terminal() {
            return Ok(());
        }
        self.end_without_outputs(stored, outcome).await
    }

    /// Ends a run; nothing of it is exported. Its lock is held.
    pub(crate) async fn end_without_outputs(
        &self,
        stored: Stored<Run>,
        outcome: &RunOutcome,
    ) -> Result<()> {
        self.end(stored, outcome, Vec::new(), Vec::new()).await
    }

    /// The one way in which a run ends: state, record, manifest and outputs by one commit.
    async fn end(
        &self,
        stored: Stored<Run>,
        outcome: &RunOutcome,
        puts: Vec<PendingObject>,
        outputs: Vec<Output>,
    ) -> Result<()> {
        let Stored { value: mut run, version } = stored;
        let spec = self.load_spec(&run.id).await?;
        let permit = self.role_permit(&run, &spec.inputs);
        let token = run.token_sha256.clone();
        run.end(outcome, self.core().now_ms());
        let tasks = task::all(self.core(), &run.id).await?;
        run.images = provenance::images(&tasks);
        let ending = Ending { run: &run, spec: &spec, tasks: &tasks, outputs: &outputs };
        let mut extra = VaultCommit::default();
        let stream = run_log::manifest_stream(&run.id, run.uuid);
        let template = self.parts.workflows.load(&run.workflow.id).await.ok();
        let template = template.and_then(|stored| stored.value.template);
        let lines = manifest::lines(self.core().site(), &ending, template.as_ref());
        let (manifest_row, manifest) = run_log::write_hidden(self.core(), &stream, &lines).await?;
        let record = provenance::stage(self.core(), &ending, &mut extra).await?;
        // Tags may have been changed meanwhile, without the run's lock: a conflict would void all.
        let now = self.load(&run.id).await?;
        let version = if now.value.token_sha256 == token { now.version } else { version };
        run.tags = now.value.tags;
        extra
            .commit
            .unchanged(row(&run.id), version)
            .put(row(&run.id), encode(&run))
            .put(record_row(&run.id), encode(&record))
            .put(manifest_row, manifest)
            .delete(live_row(&run.id));
        let applied = if puts.is_empty() {
            self.core().commit(extra).await?
        } else {
            self.parts.workflows.objects.commit(&permit?, puts, extra).await?
        };
        if !applied {
            return Err(contended());
        }
        self.forget(&run.id);
        tracing::info!(run = run.id, status = run.status.as_str(), "a run ended");
        Ok(())
    }
}

fn is_contended(fault: &Fault) -> bool {
    fault.kind == FaultKind::SlowDown && fault.cause.is_none()
}

fn export_error(fault: Fault) -> ExportError {
    match fault.kind {
        FaultKind::SlowDown | FaultKind::Internal => ExportError::Again(unavailable(&fault)),
        _ => ExportError::Failed(fault.to_string()),
    }
}

/// All staged outputs, and what the record says of them.
fn take_outputs(live: &LiveRun) -> (Vec<Output>, Vec<PendingObject>) {
    let staged = std::mem::take(&mut *live.outputs.lock());
    staged
        .into_iter()
        .map(|(path, pending)| {
            let output = Output {
                uri: format!("s3://{}/{}", pending.bucket, pending.key),
                path,
                sha256: pending.sha256.clone(),
                length: pending.staged.file().length,
            };
            (output, pending)
        })
        .unzip()
}

/// What a report means: a run that was asked to end is cancelled, only such a run is, and a reason is
/// one of the guide's.
fn judged(outcome: &RunOutcome, cancel_requested: bool) -> RunOutcome {
    match outcome {
        _ if cancel_requested => RunOutcome::Cancelled,
        RunOutcome::Completed => RunOutcome::Completed,
        RunOutcome::Cancelled => RunOutcome::Failed {
            reason: "SERVICE_ERROR".into(),
            message: "the node ended the run, and nobody here asked for that".into(),
        },
        RunOutcome::Failed { reason, message } => {
            let reason = REASONS.iter().find(|known| *known == reason);
            let reason = (*reason.unwrap_or(&"SERVICE_ERROR")).to_owned();
            RunOutcome::Failed { reason, message: message.clone() }
        }
    }
}

/// The outputs document with URIs where it names files; their paths are added to `named`.
fn replace_outputs<'a>(
    document: &'a Value,
    run_output_uri: &str,
    named: &mut BTreeSet<&'a str>,
) -> Value {
    match document {
        Value::Object(members) => {
            if let (1, Some(Value::String(path))) = (members.len(), members.get(OUTPUT)) {
                named.insert(path);
                return Value::String(format!("{run_output_uri}/{path}"));
            }
            let members = members
                .iter()
                .map(|(key, value)| (key.clone(), replace_outputs(value, run_output_uri, named)));
            Value::Object(members.collect())
        }
        Value::Array(items) => {
            let items = items.iter().map(|item| replace_outputs(item, run_output_uri, named));
            Value::Array(items.collect())
        }
        plain => plain.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn outputs_become_uris() {
        let document = json!({
            "w.bam": {"$output": "out/bam/a.bam"},
            "w.list": [{"$output": "out/list/0/x"}, 3, null],
            "w.other": {"$output": 1, "x": "out/y"},
        });
        let mut named = BTreeSet::new();
        let replaced = replace_outputs(&document, "s3://b/p/1000000", &mut named);
        assert_eq!(named.into_iter().collect::<Vec<_>>(), ["out/bam/a.bam", "out/list/0/x"]);
        assert_eq!(replaced["w.bam"], "s3://b/p/1000000/out/bam/a.bam");
        assert_eq!(replaced["w.list"], json!(["s3://b/p/1000000/out/list/0/x", 3, null]));
        assert_eq!(replaced["w.other"], json!({"$output": 1, "x": "out/y"}));
    }

    #[test]
    fn a_report_is_judged() {
        let failed =
            |reason: &str| RunOutcome::Failed { reason: reason.into(), message: "m".into() };
        assert_eq!(judged(&RunOutcome::Completed, true), RunOutcome::Cancelled);
        assert_eq!(judged(&failed("RUN_TASK_FAILED"), false), failed("RUN_TASK_FAILED"));
        assert_eq!(judged(&failed("anything"), false), failed("SERVICE_ERROR"));
        assert!(matches!(
            judged(&RunOutcome::Cancelled, false),
            RunOutcome::Failed { reason, .. } if reason == "SERVICE_ERROR"
        ));
    }
}
