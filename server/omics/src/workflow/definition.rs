//! Workflows: create, get, list, update, delete; their versions, which are not built.

use std::collections::BTreeMap;

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use readvault_ops::{
    authorize::Ask,
    core::{Site, rfc3339},
    workflow::{Engine, Parameter, Workflow, arn, create::CreateWorkflow, update::UpdateWorkflow},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{List, WithRuns, path_id};
use crate::{
    Parts,
    error::ApiError,
    json::{Call, JsonBody, Path, Query},
};

pub(super) fn routes() -> Router<Parts> {
    Router::new()
        .route("/workflow", get(list).post(create))
        .route("/workflow/{id}", get(describe).post(update).delete(delete))
        .route("/workflow/{id}/version", get(list_versions).post(refuse_version))
        .route(
            "/workflow/{id}/version/{version}",
            get(no_version).post(no_version).delete(no_version),
        )
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateBody {
    name: Option<String>,
    description: Option<String>,
    engine: Option<String>,
    definition_zip: Option<String>,
    definition_uri: Option<String>,
    main: Option<String>,
    parameter_template: Option<BTreeMap<String, Parameter>>,
    storage_type: Option<String>,
    storage_capacity: Option<u32>,
    readme_markdown: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    request_id: Option<String>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// Members of the contract that are not built; anything else that is unknown is passed over.
const NOT_BUILT: [&str; 9] = [
    "accelerators",
    "containerRegistryMap",
    "containerRegistryMapUri",
    "definitionRepository",
    "parameterTemplatePath",
    "readmePath",
    "readmeUri",
    "workflowBucketOwnerId",
    "versionName",
];

/// Refuses a member that is known, was given and is not built.
pub(super) fn refuse_unbuilt(other: &Map<String, Value>, known: &[&str]) -> Result<(), ApiError> {
    let given = known.iter().find(|name| other.get(**name).is_some_and(|value| !value.is_null()));
    match given {
        Some(name) => Err(ApiError::validation(format!("{name} is not built in this vault yet"))),
        None => Ok(()),
    }
}

async fn create(
    State(parts): State<Parts>,
    call: Call,
    WithRuns(runs): WithRuns,
    JsonBody(body): JsonBody<CreateBody>,
) -> Result<Response, ApiError> {
    let mut asks = vec![Ask::new("omics:CreateWorkflow", "*")];
    if !body.tags.is_empty() {
        asks.push(Ask::new("omics:TagResource", arn(parts.core.site(), "*")));
    }
    let permit = call.permits(&parts, &asks)?;
    refuse_unbuilt(&body.other, &NOT_BUILT)?;
    let zip = body.definition_zip.map(|text| STANDARD.decode(text)).transpose();
    let request = CreateWorkflow {
        name: body.name,
        description: body.description,
        engine: body.engine.as_deref().map(Engine::parse).transpose()?,
        definition_zip: zip
            .map_err(|_| ApiError::validation("definitionZip is not base64"))?
            .map(Into::into),
        definition_uri: body.definition_uri,
        main: body.main,
        template: body.parameter_template,
        storage_type: body.storage_type,
        storage_capacity: body.storage_capacity,
        readme: body.readme_markdown,
        tags: body.tags,
        request_id: body.request_id.unwrap_or_default(),
    };
    let workflow = runs.workflows().create(&permit, request).await?;
    // What the contract's clients wait for: the answer tells of acceptance, GetWorkflow of the outcome.
    let answer = json!({
        "arn": workflow.arn(parts.core.site()), "id": workflow.id, "status": "CREATING",
        "tags": workflow.tags, "uuid": workflow.uuid,
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
    let permit = call.permit(&parts, "omics:GetWorkflow", arn(parts.core.site(), id))?;
    private_only(&query)?;
    let readme = query.all("export").any(|export| export == "README");
    if query.all("export").any(|export| export == "DEFINITION") {
        return Err(ApiError::validation("export=DEFINITION is not built in this vault yet"));
    }
    let workflow = runs.workflows().get(&permit, id).await?;
    let mut answer = full(parts.core.site(), &workflow);
    if !readme && let Some(members) = answer.as_object_mut() {
        members.remove("readme");
    }
    Ok(axum::Json(answer).into_response())
}

/// Only workflows of this vault exist.
pub(super) fn private_only(query: &Query) -> Result<(), ApiError> {
    match query.one("type")? {
        None | Some("PRIVATE") => Ok(()),
        Some("READY2RUN") => Err(ApiError::validation("this vault has no READY2RUN workflows")),
        Some(_) => Err(ApiError::validation("type must be PRIVATE or READY2RUN")),
    }
}

fn full(site: &Site, workflow: &Workflow) -> Value {
    known(json!({
        "arn": workflow.arn(site), "id": workflow.id, "uuid": workflow.uuid,
        "status": workflow.status.as_str(), "statusMessage": workflow.status_message,
        "type": "PRIVATE", "name": workflow.name, "description": workflow.description,
        "engine": workflow.engine.map(Engine::as_str), "main": workflow.main,
        "digest": workflow.definition.sha256, "parameterTemplate": workflow.template,
        "storageType": workflow.storage_type, "storageCapacity": workflow.storage_capacity,
        "creationTime": rfc3339(workflow.created_ms), "tags": workflow.tags,
        "metadata": {}, "readme": workflow.readme,
    }))
}

/// Leaves out what is not known: clients test for presence.
pub(super) fn known(mut value: Value) -> Value {
    if let Some(members) = value.as_object_mut() {
        members.retain(|_, member| !member.is_null());
    }
    value
}

async fn list(
    State(parts): State<Parts>,
    call: Call,
    WithRuns(runs): WithRuns,
    query: Query,
) -> Result<Response, ApiError> {
    let permit = call.permit(&parts, "omics:ListWorkflows", "*")?;
    let (name, kind) = (query.one("name")?, query.one("type")?);
    if kind == Some("READY2RUN") {
        return Ok(axum::Json(json!({ "items": [] })).into_response());
    }
    private_only(&query)?;
    let list = List { parts: &parts, call: &call, name: format!("ListWorkflows {name:?}") };
    let of = list.page(&query).await?;
    let page = runs.workflows().list(&permit, name, &of).await?;
    let items: Vec<_> = page.items.iter().map(|item| brief(parts.core.site(), item)).collect();
    let token = list.token(page.next).await?;
    Ok(axum::Json(known(json!({ "items": items, "nextToken": token }))).into_response())
}

fn brief(site: &Site, workflow: &Workflow) -> Value {
    known(json!({
        "arn": workflow.arn(site), "id": workflow.id, "name": workflow.name,
        "status": workflow.status.as_str(), "type": "PRIVATE",
        "digest": workflow.definition.sha256, "creationTime": rfc3339(workflow.created_ms),
        "metadata": {},
    }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateBody {
    name: Option<String>,
    description: Option<String>,
    storage_type: Option<String>,
    storage_capacity: Option<u32>,
    readme_markdown: Option<String>,
}

async fn update(
    State(parts): State<Parts>,
    call: Call,
    WithRuns(runs): WithRuns,
    path: Path,
    JsonBody(body): JsonBody<UpdateBody>,
) -> Result<StatusCode, ApiError> {
    let id = path_id(&path, "id")?;
    let permit = call.permit(&parts, "omics:UpdateWorkflow", arn(parts.core.site(), id))?;
    let change = UpdateWorkflow {
        name: body.name,
        description: body.description,
        storage_type: body.storage_type,
        storage_capacity: body.storage_capacity,
        readme: body.readme_markdown,
    };
    runs.workflows().update(&permit, id, &change).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn delete(
    State(parts): State<Parts>,
    call: Call,
    WithRuns(runs): WithRuns,
    path: Path,
) -> Result<StatusCode, ApiError> {
    let id = path_id(&path, "id")?;
    let permit = call.permit(&parts, "omics:DeleteWorkflow", arn(parts.core.site(), id))?;
    runs.delete_workflow(&permit, id).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn list_versions(
    State(parts): State<Parts>,
    call: Call,
    WithRuns(runs): WithRuns,
    path: Path,
) -> Result<Response, ApiError> {
    let id = path_id(&path, "id")?;
    let permit = call.permit(&parts, "omics:ListWorkflowVersions", arn(parts.core.site(), id))?;
    runs.workflows().get(&permit, id).await?;
    Ok(axum::Json(json!({ "items": [] })).into_response())
}

async fn refuse_version(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
) -> Result<Response, ApiError> {
    let id = path_id(&path, "id")?;
    call.permit(&parts, "omics:CreateWorkflowVersion", arn(parts.core.site(), id))?;
    let message = "workflow versions are not built yet: create another workflow";
    Err(ApiError::validation(message))
}

async fn no_version(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
) -> Result<Response, ApiError> {
    let id = path_id(&path, "id")?;
    call.permit(&parts, "omics:GetWorkflowVersion", arn(parts.core.site(), id))?;
    Err(ApiError::new(
        StatusCode::NOT_FOUND,
        "ResourceNotFoundException",
        "the workflow has no such version",
    ))
}
