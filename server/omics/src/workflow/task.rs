//! Tasks of runs: get, list.

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use readvault_ops::{core::rfc3339, run::arn, run_log::task_stream, task::Task};
use serde_json::{Value, json};

use super::{List, WithRuns, definition::known, path_id, run_answer::stream_arn};
use crate::{
    Parts,
    error::ApiError,
    json::{Call, Path, Query},
};

pub(super) fn routes() -> Router<Parts> {
    Router::new().route("/run/{id}/task", get(list)).route("/run/{id}/task/{task}", get(describe))
}

const STATES: [&str; 7] =
    ["PENDING", "STARTING", "RUNNING", "STOPPING", "COMPLETED", "FAILED", "CANCELLED"];

async fn list(
    State(parts): State<Parts>,
    call: Call,
    WithRuns(runs): WithRuns,
    (path, query): (Path, Query),
) -> Result<Response, ApiError> {
    let id = path_id(&path, "id")?;
    let permit = call.permit(&parts, "omics:ListRunTasks", arn(parts.core.site(), id))?;
    let status = query.one("status")?;
    if status.is_some_and(|status| !STATES.contains(&status)) {
        return Err(ApiError::validation("status is not a state of a task"));
    }
    let list = List { parts: &parts, call: &call, name: format!("ListRunTasks {id} {status:?}") };
    let of = list.page(&query).await?;
    let page = runs.tasks(&permit, id, status, &of).await?;
    let items: Vec<_> = page.items.iter().map(brief).collect();
    let token = list.token(page.next).await?;
    Ok(axum::Json(known(json!({ "items": items, "nextToken": token }))).into_response())
}

async fn describe(
    State(parts): State<Parts>,
    call: Call,
    WithRuns(runs): WithRuns,
    path: Path,
) -> Result<Response, ApiError> {
    let (id, task) = (path_id(&path, "id")?, path_id(&path, "task")?);
    let site = parts.core.site();
    let permit = call.permit(&parts, "omics:GetRunTask", arn(site, id))?;
    let task = runs.task(&permit, id, task).await?;
    let mut answer = brief(&task);
    let report = &task.report;
    let more = json!({
        "logStream": stream_arn(site, &task_stream(id, &task.id)),
        "statusMessage": report.message, "failureReason": task.failure_reason(),
        "imageDetails": known(json!({
            "image": report.image, "sourceImage": report.image,
            "imageDigest": Some(&report.image_digest).filter(|digest| !digest.is_empty()),
        })),
    });
    if let (Some(answer), Value::Object(more)) = (answer.as_object_mut(), known(more)) {
        answer.extend(more);
    }
    Ok(axum::Json(answer).into_response())
}

fn brief(task: &Task) -> Value {
    let report = &task.report;
    known(json!({
        "taskId": task.id, "status": task.status(), "name": report.name, "cpus": task.cpus(),
        "memory": task.memory_gib(), "gpus": 0, "cacheHit": false, "uuid": report.task,
        "creationTime": rfc3339(task.created_ms), "startTime": report.started_ms.map(rfc3339),
        "stopTime": report.stopped_ms.map(rfc3339), "instanceType": task.instance_type(),
    }))
}
