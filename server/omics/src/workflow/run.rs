//! Runs: start, get, list, cancel, delete.

use std::collections::BTreeMap;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use readvault_ops::{
    authorize::Ask,
    run::{RunOptions, RunStatus, arn, list::RunFilter, start::StartRun},
};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::{
    List, WithRuns,
    definition::{known, refuse_unbuilt},
    path_id, run_answer,
};
use crate::{
    Parts,
    error::ApiError,
    json::{Call, JsonBody, Path, Query},
};

pub(super) fn routes() -> Router<Parts> {
    Router::new()
        .route("/run", get(list).post(start))
        .route("/run/{id}", get(describe).delete(delete))
        .route("/run/{id}/cancel", post(cancel))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StartBody {
    workflow_id: Option<String>,
    workflow_type: Option<String>,
    workflow_owner_id: Option<String>,
    run_id: Option<String>,
    role_arn: Option<String>,
    name: Option<String>,
    parameters: Option<Box<RawValue>>,
    output_uri: Option<String>,
    priority: Option<u32>,
    storage_type: Option<String>,
    storage_capacity: Option<u32>,
    log_level: Option<String>,
    retention_mode: Option<String>,
    scratch_storage_mode: Option<String>,
    networking_mode: Option<String>,
    output_uri_prefix_mode: Option<String>,
    cache_behavior: Option<String>,
    requester_pays_enabled: Option<bool>,
    tags: Option<BTreeMap<String, String>>,
    request_id: Option<String>,
    run_group_id: Option<String>,
    cache_id: Option<String>,
    workflow_version_name: Option<String>,
    configuration_name: Option<String>,
    session_policy: Option<String>,
    parameters_uri: Option<String>,
    engine_settings: Option<Value>,
}

/// What can't be served is refused, never passed over.
fn check_built(body: &StartBody, account: &str) -> Result<(), ApiError> {
    let text = |value: &Option<String>| value.clone().map(Value::String);
    let settings = body.engine_settings.clone();
    let settings =
        settings.filter(|settings| settings.as_object().is_none_or(|map| !map.is_empty()));
    let given: Map<String, Value> = [
        ("runGroupId", text(&body.run_group_id)),
        ("cacheId", text(&body.cache_id)),
        ("workflowVersionName", text(&body.workflow_version_name)),
        ("configurationName", text(&body.configuration_name)),
        ("sessionPolicy", text(&body.session_policy)),
        ("parametersUri", text(&body.parameters_uri)),
        ("engineSettings", settings),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect();
    let names: Vec<&str> = given.keys().map(String::as_str).collect();
    refuse_unbuilt(&given, &names)?;
    let one_of = |name: &str, value: &Option<String>, served: &[&str], known: &[&str]| match value
        .as_deref()
    {
        Some(value) if served.contains(&value) => Ok(()),
        Some(value) if known.contains(&value) => {
            Err(ApiError::validation(format!("{name}={value} is not built in this vault yet")))
        }
        Some(_) => {
            let words = [served, known].concat().join(", ");
            Err(ApiError::validation(format!("{name} must be one of {words}")))
        }
        None => Ok(()),
    };
    one_of("workflowType", &body.workflow_type, &["PRIVATE"], &["READY2RUN"])?;
    one_of("networkingMode", &body.networking_mode, &["RESTRICTED"], &["VPC"])?;
    one_of(
        "outputUriPrefixMode",
        &body.output_uri_prefix_mode,
        &["SERVICE_DEFINED"],
        &["NONE_WITH_OVERWRITE"],
    )?;
    one_of("cacheBehavior", &body.cache_behavior, &["CACHE_ON_FAILURE", "CACHE_ALWAYS"], &[])?;
    if body.requester_pays_enabled == Some(true) {
        return Err(ApiError::validation("requesterPaysEnabled is not built in this vault"));
    }
    if body.workflow_owner_id.as_deref().is_some_and(|owner| owner != account) {
        return Err(ApiError::validation("workflowOwnerId must be this vault's account"));
    }
    Ok(())
}

async fn start(
    State(parts): State<Parts>,
    call: Call,
    WithRuns(runs): WithRuns,
    JsonBody(body): JsonBody<StartBody>,
) -> Result<Response, ApiError> {
    let site = parts.core.site();
    let mut asks = vec![Ask::new("omics:StartRun", arn(site, "*"))];
    if body.tags.as_ref().is_some_and(|tags| !tags.is_empty()) {
        asks.push(Ask::new("omics:TagResource", arn(site, "*")));
    }
    let permit = call.permits(&parts, &asks)?;
    check_built(&body, &site.account)?;
    let required = |name: &str, value: Option<String>| {
        value.ok_or_else(|| ApiError::validation(format!("{name} is required")))
    };
    let request = StartRun {
        workflow_id: body.workflow_id,
        source_run: body.run_id,
        role_arn: required("roleArn", body.role_arn)?,
        name: body.name,
        parameters: body.parameters.filter(|raw| raw.get() != "null"),
        output_uri: required("outputUri", body.output_uri)?,
        options: RunOptions {
            priority: body.priority,
            storage_type: body.storage_type,
            storage_capacity: body.storage_capacity,
            log_level: body.log_level,
            retention_mode: body.retention_mode,
            scratch_storage_mode: body.scratch_storage_mode,
        },
        tags: body.tags.unwrap_or_default(),
        request_id: body.request_id.unwrap_or_default(),
    };
    let run = runs.start(&permit, request).await?;
    let answer = json!({
        "arn": run.arn(site), "id": run.id, "status": run.status.as_str(), "tags": run.tags,
        "uuid": run.uuid, "runOutputUri": run.run_output_uri, "networkingMode": "RESTRICTED",
    });
    Ok((StatusCode::CREATED, axum::Json(answer)).into_response())
}

async fn describe(
    State(parts): State<Parts>,
    call: Call,
    WithRuns(runs): WithRuns,
    (path, query): (Path, Query),
) -> Result<Response, ApiError> {
    let id = path_id(&path, "id")?;
    let site = parts.core.site();
    let permit = call.permit(&parts, "omics:GetRun", arn(site, id))?;
    if query.all("export").next().is_some() {
        return Err(ApiError::validation("export=DEFINITION is not built in this vault yet"));
    }
    let run = runs.get(&permit, id).await?;
    let spec = runs.spec(&permit, id).await?;
    let text = run_answer::full(site, &run, &spec);
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

async fn list(
    State(parts): State<Parts>,
    call: Call,
    WithRuns(runs): WithRuns,
    query: Query,
) -> Result<Response, ApiError> {
    let permit = call.permit(&parts, "omics:ListRuns", "*")?;
    let filter = RunFilter {
        name: query.one("name")?.map(ToOwned::to_owned),
        status: query.one("status")?.map(RunStatus::parse).transpose()?,
    };
    if query.one("runGroupId")?.is_some() || query.one("batchId")?.is_some() {
        // No run of this vault is of a group or batch.
        return Ok(axum::Json(json!({ "items": [] })).into_response());
    }
    let list = List { parts: &parts, call: &call, name: format!("ListRuns {filter:?}") };
    let of = list.page(&query).await?;
    let page = runs.list(&permit, &filter, &of).await?;
    let site = parts.core.site();
    let items: Vec<_> = page.items.iter().map(|run| run_answer::brief(site, run)).collect();
    let token = list.token(page.next).await?;
    Ok(axum::Json(known(json!({ "items": items, "nextToken": token }))).into_response())
}

async fn cancel(
    State(parts): State<Parts>,
    call: Call,
    WithRuns(runs): WithRuns,
    path: Path,
) -> Result<StatusCode, ApiError> {
    let id = path_id(&path, "id")?;
    let permit = call.permit(&parts, "omics:CancelRun", arn(parts.core.site(), id))?;
    runs.cancel(&permit, id).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn delete(
    State(parts): State<Parts>,
    call: Call,
    WithRuns(runs): WithRuns,
    path: Path,
) -> Result<StatusCode, ApiError> {
    let id = path_id(&path, "id")?;
    let permit = call.permit(&parts, "omics:DeleteRun", arn(parts.core.site(), id))?;
    runs.delete(&permit, id).await?;
    Ok(StatusCode::ACCEPTED)
}
