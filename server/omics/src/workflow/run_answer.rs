//! What GetRun and ListRuns say of a run.

use readvault_ops::{
    core::{Site, rfc3339},
    run::{Run, RunSpecRow, inputs::resource_digests},
    run_log::{GROUP, engine_stream, run_stream},
};
use serde_json::{Value, json};

use super::definition::known;

/// The ARN of a log stream.
pub(super) fn stream_arn(site: &Site, stream: &str) -> String {
    site.arn("logs", &format!("log-group:{GROUP}:log-stream:{stream}"))
}

/// The answer of GetRun. The parameters stand in it exactly as they came, numbers and order included.
pub(super) fn full(site: &Site, run: &Run, spec: &RunSpecRow) -> String {
    let options = &run.options;
    let answer = known(json!({
        "arn": run.arn(site), "id": run.id, "uuid": run.uuid, "name": run.name,
        "status": run.status.as_str(), "statusMessage": run.status_message,
        "failureReason": run.failure_reason, "workflowId": run.workflow.id,
        "workflowUuid": run.workflow.uuid, "workflowType": "PRIVATE",
        "workflowOwnerId": site.account, "runId": run.source_run, "roleArn": run.role_arn,
        "priority": options.priority, "digest": run.workflow.sha256,
        "storageType": options.storage_type, "storageCapacity": capacity(run),
        "outputUri": run.output_uri, "runOutputUri": run.run_output_uri,
        "outputUriPrefixMode": "SERVICE_DEFINED", "networkingMode": "RESTRICTED",
        "logLevel": options.log_level.as_deref().unwrap_or("ALL"),
        "retentionMode": options.retention_mode.as_deref().unwrap_or("RETAIN"),
        "scratchStorageMode": options.scratch_storage_mode.as_deref().unwrap_or("SHARED"),
        "resourceDigests": resource_digests(run, spec), "startedBy": run.started_by,
        "creationTime": rfc3339(run.created_ms), "startTime": run.started_ms.map(rfc3339),
        "stopTime": run.stopped_ms.map(rfc3339), "tags": run.tags,
        "logLocation": {
            "engineLogStream": stream_arn(site, &engine_stream(&run.id)),
            "runLogStream": stream_arn(site, &run_stream(&run.id)),
        },
    }));
    let mut text = answer.to_string();
    text.pop();
    text.push_str(",\"parameters\":");
    text.push_str(&spec.parameters);
    text.push('}');
    text
}

/// GiB: what was asked for, or of a dynamic run what it used at most.
fn capacity(run: &Run) -> Option<u64> {
    if run.options.storage_type.as_deref() == Some("STATIC") {
        return run.options.storage_capacity.map(u64::from);
    }
    run.scratch_peak_bytes.map(|bytes| bytes.div_ceil(1 << 30))
}

/// An item of ListRuns.
pub(super) fn brief(site: &Site, run: &Run) -> Value {
    known(json!({
        "arn": run.arn(site), "id": run.id, "status": run.status.as_str(),
        "workflowId": run.workflow.id, "workflowName": run.workflow.name, "name": run.name,
        "priority": run.options.priority, "storageCapacity": capacity(run),
        "storageType": run.options.storage_type, "creationTime": rfc3339(run.created_ms),
        "startTime": run.started_ms.map(rfc3339), "stopTime": run.stopped_ms.map(rfc3339),
    }))
}
