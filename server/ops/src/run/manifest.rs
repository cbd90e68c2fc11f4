//! The manifest stream of a run: one JSON object an event, the run first, then its tasks.
//! Tools parse it; times always have a fraction of a second.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{inputs::resource_digests, provenance::Ending, provenance::parameters};
use crate::{
    core::{Site, rfc3339},
    task::Task,
    workflow::{self, Parameter},
};

/// Most bytes of an event: what does not fit is left out.
const EVENT_BYTES_MAX: usize = 900 << 10;

const GIB: f64 = (1_u64 << 30) as f64;

/// The events of a run that has ended.
pub(crate) fn lines(
    site: &Site,
    ending: &Ending<'_>,
    template: Option<&BTreeMap<String, Parameter>>,
) -> Vec<String> {
    let mut run = run_line(site, ending, template);
    for large in ["parameters", "resourceDigests", "parameterTemplate"] {
        if run.to_string().len() > EVENT_BYTES_MAX
            && let Some(members) = run.as_object_mut()
        {
            members.remove(large);
        }
    }
    let tasks = ending.tasks.iter().map(|task| task_line(site, task).to_string());
    std::iter::once(run.to_string()).chain(tasks).collect()
}

fn seconds(from_ms: Option<u64>, until_ms: Option<u64>) -> f64 {
    match (from_ms, until_ms) {
        (Some(from), Some(until)) => (until.saturating_sub(from)) as f64 / 1000.0,
        _ => 0.0,
    }
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / GIB
}

/// Leaves out what is not known.
fn known(mut value: Value) -> Value {
    if let Some(members) = value.as_object_mut() {
        members.retain(|_, member| !member.is_null());
    }
    value
}

fn run_line(
    site: &Site,
    ending: &Ending<'_>,
    template: Option<&BTreeMap<String, Parameter>>,
) -> Value {
    let run = ending.run;
    let source = run.source_run.as_ref().map(|id| super::arn(site, id));
    let peak = run.scratch_peak_bytes.map(gib);
    let mut metrics = Map::new();
    metrics.insert("runningSeconds".into(), json!(seconds(run.started_ms, run.stopped_ms)));
    metrics.insert("storageReservedGiB".into(), json!(gib(run.resources.scratch_bytes)));
    metrics.insert("storageMaximumGiB".into(), json!(peak.unwrap_or(0.0)));
    metrics.insert("storageAverageGiB".into(), json!(peak.unwrap_or(0.0)));
    known(json!({
        "arn": run.arn(site), "uuid": run.uuid, "name": run.name.clone().unwrap_or_default(),
        "workflow": workflow::arn(site, &run.workflow.id), "run": source,
        "digest": run.workflow.sha256, "parameters": parameters(ending.spec),
        "parameterTemplate": template, "resourceDigests": resource_digests(run, ending.spec),
        "storageType": run.options.storage_type, "storageCapacity": run.options.storage_capacity,
        "roleArn": run.role_arn, "outputUri": run.output_uri,
        "logLevel": run.options.log_level.as_deref().unwrap_or("ALL"),
        "retentionMode": run.options.retention_mode.as_deref().unwrap_or("RETAIN"),
        "priority": run.options.priority, "startedBy": run.started_by,
        "status": run.status.as_str(), "failureReason": run.failure_reason,
        "creationTime": rfc3339(run.created_ms), "startTime": run.started_ms.map(rfc3339),
        "stopTime": run.stopped_ms.map(rfc3339), "metrics": metrics,
    }))
}

fn task_line(site: &Site, task: &Task) -> Value {
    let report = &task.report;
    let running = seconds(report.started_ms, report.stopped_ms);
    let cpus = report.cpu_seconds.filter(|_| running > 0.0).map(|used| used / running);
    let peak = report.memory_peak_bytes.map(gib);
    let metrics = known(json!({
        "cpusReserved": report.cpus, "cpusAverage": cpus, "cpusMaximum": cpus,
        "gpusReserved": 0, "memoryReservedGiB": gib(report.memory_bytes),
        "memoryAverageGiB": peak, "memoryMaximumGiB": peak, "runningSeconds": running,
    }));
    known(json!({
        "arn": task.arn(site), "uuid": report.task, "name": report.name, "cpus": task.cpus(),
        "memory": task.memory_gib(), "gpus": 0, "instanceType": task.instance_type(),
        "image": report.image, "status": task.status(),
        "creationTime": rfc3339(task.created_ms), "startTime": report.started_ms.map(rfc3339),
        "stopTime": report.stopped_ms.map(rfc3339), "metrics": metrics,
    }))
}
