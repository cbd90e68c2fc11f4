//! The immutable record of a run: who, when, role, workflow, parameters, and the digest of every input,
//! image, engine and output. Written once, by the commit that ends the run.

use std::collections::BTreeMap;

use readvault_store::vault::{
    FileRef, FileRole, FileSpec, Item, ItemKind, Metadata, SlotChoice, VaultCommit,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use super::{Run, RunSpecRow};
use crate::{
    body::stage_fault,
    core::{Core, encode, rfc3339},
    fault::Result,
    task::Task,
    workflow::documents,
};

/// Version of the record's shape.
const RECORD_VERSION: u32 = 1;

/// Where a record is kept, as its row holds it. Key: the run's id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredRecord {
    /// Its item.
    pub item: Item,
    /// The record, JSON.
    pub file: FileRef,
}

/// One output of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// Path below the run's output prefix.
    pub(crate) path: String,
    /// Where it stands.
    pub(crate) uri: String,
    /// SHA-256 of its bytes, hexadecimal.
    pub(crate) sha256: String,
    /// Its length.
    pub(crate) length: u64,
}

/// All that is known of a run at its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending<'a> {
    /// The run, ended.
    pub(crate) run: &'a Run,
    /// What never changed of it.
    pub(crate) spec: &'a RunSpecRow,
    /// Its tasks.
    pub(crate) tasks: &'a [Task],
    /// Its outputs.
    pub(crate) outputs: &'a [Output],
}

/// Image as tasks named it → digest that it ran by.
pub(crate) fn images(tasks: &[Task]) -> BTreeMap<String, String> {
    let named =
        tasks.iter().map(|task| &task.report).filter(|report| !report.image_digest.is_empty());
    named.map(|report| (report.image.clone(), report.image_digest.clone())).collect()
}

/// Stages the record and adds its file to `extra`.
pub(crate) async fn stage(
    core: &Core,
    ending: &Ending<'_>,
    extra: &mut VaultCommit,
) -> Result<StoredRecord> {
    let store = documents::store(core).await?;
    let item = core.vault().new_item(&store, ItemKind::Document, SlotChoice::Own).await?;
    let spec = FileSpec::new(item.clone(), FileRole::Object, Metadata::None);
    let body = encode(&record(core, ending));
    let body = futures::stream::iter([Ok(body)]);
    let staged = core.vault().stage(spec, body).await.map_err(stage_fault)?;
    let stored = StoredRecord { item, file: staged.file().clone() };
    extra.files.push(staged);
    Ok(stored)
}

fn record(core: &Core, ending: &Ending<'_>) -> Value {
    let Ending { run, spec, tasks, outputs } = *ending;
    let site = core.site();
    let time = |at: Option<u64>| at.map(rfc3339);
    let inputs = spec.inputs.iter().map(|input| {
        json!({
            "uri": input.uri, "etag": input.etag, "sha256": input.sha256,
            "manifest": input.file.manifest.to_string(), "length": input.file.length,
        })
    });
    let outputs = outputs.iter().map(|output| {
        json!({
            "uri": output.uri, "path": output.path, "sha256": output.sha256,
            "length": output.length,
        })
    });
    json!({
        "recordVersion": RECORD_VERSION,
        "run": {
            "arn": run.arn(site), "id": run.id, "uuid": run.uuid, "name": run.name,
            "status": run.status.as_str(), "failureReason": run.failure_reason,
            "statusMessage": run.status_message, "sourceRun": run.source_run,
            "attempt": run.attempt,
        },
        "startedBy": run.started_by,
        "roleArn": run.role_arn,
        "workflow": {
            "id": run.workflow.id, "uuid": run.workflow.uuid, "name": run.workflow.name,
            "engine": run.workflow.engine.as_str(), "main": run.workflow.main,
            "sha256": run.workflow.sha256,
        },
        "parameters": parameters(spec),
        "inputs": inputs.collect::<Vec<_>>(),
        "images": run.images,
        "engine": { "imageDigest": run.engine_digest, "version": run.engine_version },
        "resources": run.resources,
        "outputUri": run.run_output_uri,
        "outputs": outputs.collect::<Vec<_>>(),
        "tasks": tasks.iter().map(|task| task_record(task, spec)).collect::<Vec<_>>(),
        "createdAt": rfc3339(run.created_ms),
        "startedAt": time(run.started_ms),
        "stoppedAt": time(run.stopped_ms),
    })
}

/// The parameters as JSON; their text is kept beside as it came.
pub(crate) fn parameters(spec: &RunSpecRow) -> Value {
    serde_json::from_str(&spec.parameters)
        .unwrap_or_else(|_| Value::String(spec.parameters.clone()))
}

/// The parameters exactly as they came.
#[must_use]
pub fn parameters_text(spec: &RunSpecRow) -> Option<Box<RawValue>> {
    RawValue::from_string(spec.parameters.clone()).ok()
}

/// What was observed of a task, apart from what the engine claimed.
fn task_record(task: &Task, spec: &RunSpecRow) -> Value {
    let report = &task.report;
    let accesses = task.accesses.iter().map(|(input, accesses)| {
        let uri = usize::try_from(*input).ok().and_then(|index| spec.inputs.get(index));
        json!({ "uri": uri.map(|input| &input.uri), "observed": accesses })
    });
    json!({
        "id": task.id, "uuid": report.task, "status": task.status(),
        "claimed": { "name": report.name, "argv": report.argv },
        "image": report.image, "imageDigest": report.image_digest,
        "cpus": report.cpus, "memoryBytes": report.memory_bytes,
        "exitCode": report.exit_code, "outOfMemory": report.out_of_memory,
        "memoryPeakBytes": report.memory_peak_bytes, "cpuSeconds": report.cpu_seconds,
        "accesses": accesses.collect::<Vec<_>>(),
        "startedAt": report.started_ms.map(rfc3339),
        "stoppedAt": report.stopped_ms.map(rfc3339),
    })
}
