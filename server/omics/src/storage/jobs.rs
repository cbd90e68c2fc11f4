//! Export and activation jobs.

use axum::{
    Router,
    extract::State,
    response::Response,
    routing::{get, post},
};
use readvault_ops::{
    core::rfc3339,
    read_set_job::{
        ACTIVATION, EXPORT, ReadSetJob, ReadSetJobKind, read,
        start::{self, NewReadSetJob},
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Filtered, List, import,
    import::JobFilterBody,
    path_id,
    sequence_store::{arn, is_location},
};
use crate::{
    Parts,
    error::ApiError,
    json::{Call, JsonBody, PageAsk, Path, Query, answer, check_id, check_text_opt},
};

pub(super) fn routes() -> Router<Parts> {
    Router::new()
        .route("/sequencestore/{store}/exportjob", post(start_export))
        .route("/sequencestore/{store}/exportjobs", post(list_exports))
        .route("/sequencestore/{store}/exportjob/{id}", get(get_export))
        .route("/sequencestore/{store}/activationjob", post(start_activation))
        .route("/sequencestore/{store}/activationjobs", post(list_activations))
        .route("/sequencestore/{store}/activationjob/{id}", get(get_activation))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    read_set_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExportBody {
    destination: String,
    role_arn: String,
    client_token: Option<String>,
    sources: Vec<Source>,
}

async fn start_export(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
    JsonBody(body): JsonBody<ExportBody>,
) -> Result<Response, ApiError> {
    let store = path_id(&path, "store")?;
    let action = ("omics:StartReadSetExportJob", arn(&parts, store));
    let permit = import::permit((&parts, &call), action, &body.role_arn, false)?;
    if !is_location(&body.destination) {
        return Err(ApiError::validation("destination must be s3://bucket or s3://bucket/prefix/"));
    }
    let (destination, role_arn) = (body.destination, body.role_arn);
    let new = NewReadSetJob {
        kind: ReadSetJobKind::Export { destination, role_arn },
        store: store.into(),
        read_sets: ids(body.sources, 100)?,
        client_token: token(body.client_token)?,
    };
    let started = start::start(&parts.core, &parts.jobs, &permit, new).await;
    let job = started.map_err(|fault| ApiError::from(fault).without_conflict())?;
    Ok(answer(document(&job)))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ActivationBody {
    client_token: Option<String>,
    sources: Vec<Source>,
}

async fn start_activation(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
    JsonBody(body): JsonBody<ActivationBody>,
) -> Result<Response, ApiError> {
    let store = path_id(&path, "store")?;
    let permit = call.permit(&parts, "omics:StartReadSetActivationJob", arn(&parts, store))?;
    let new = NewReadSetJob {
        kind: ReadSetJobKind::Activation,
        store: store.into(),
        read_sets: ids(body.sources, 20)?,
        client_token: token(body.client_token)?,
    };
    let started = start::start(&parts.core, &parts.jobs, &permit, new).await;
    let job = started.map_err(|fault| ApiError::from(fault).without_conflict())?;
    Ok(answer(document(&job)))
}

fn ids(sources: Vec<Source>, most: usize) -> Result<Vec<String>, ApiError> {
    if !(1..=most).contains(&sources.len()) {
        return Err(ApiError::validation(format!("sources must have 1 to {most} entries")));
    }
    let ids: Vec<String> = sources.into_iter().map(|source| source.read_set_id).collect();
    ids.iter().try_for_each(|id| check_id("readSetId", id, 10..=36))?;
    Ok(ids)
}

fn token(token: Option<String>) -> Result<Option<String>, ApiError> {
    check_text_opt("clientToken", token.as_deref(), 127)?;
    Ok(token)
}

async fn get_export(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
) -> Result<Response, ApiError> {
    let (store, id) = (path_id(&path, "store")?, path_id(&path, "id")?);
    let permit = call.permit(&parts, "omics:GetReadSetExportJob", arn(&parts, store))?;
    let job = read::get(&parts.core, &permit, (EXPORT, store, id)).await?;
    let mut shown = document(&job);
    shown["readSets"] = items(&job, "id");
    Ok(answer(shown))
}

async fn get_activation(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
) -> Result<Response, ApiError> {
    let (store, id) = (path_id(&path, "store")?, path_id(&path, "id")?);
    let permit = call.permit(&parts, "omics:GetReadSetActivationJob", arn(&parts, store))?;
    let job = read::get(&parts.core, &permit, (ACTIVATION, store, id)).await?;
    let mut shown = document(&job);
    shown["sources"] = items(&job, "readSetId");
    Ok(answer(shown))
}

async fn list_exports(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
    query: Query,
    JsonBody(body): JsonBody<Filtered<JobFilterBody>>,
) -> Result<Response, ApiError> {
    let store = path_id(&path, "store")?;
    let permit = call.permit(&parts, "omics:ListReadSetExportJobs", arn(&parts, store))?;
    let filter = body.filter.unwrap_or_default().filter()?;
    let list = List::new(&parts, &call, ("ListReadSetExportJobs", store), &filter);
    let of = list.of(&PageAsk::storage(&query)?).await?;
    let page = read::list(&parts.core, &permit, (EXPORT, store), (&filter, &of)).await?;
    let jobs: Vec<Value> = page.items.iter().map(document).collect();
    let next = list.token(page.next.as_deref()).await?;
    Ok(answer(json!({ "exportJobs": jobs, "nextToken": next })))
}

async fn list_activations(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
    query: Query,
    JsonBody(body): JsonBody<Filtered<JobFilterBody>>,
) -> Result<Response, ApiError> {
    let store = path_id(&path, "store")?;
    let permit = call.permit(&parts, "omics:ListReadSetActivationJobs", arn(&parts, store))?;
    let filter = body.filter.unwrap_or_default().filter()?;
    let list = List::new(&parts, &call, ("ListReadSetActivationJobs", store), &filter);
    let of = list.of(&PageAsk::storage(&query)?).await?;
    let page = read::list(&parts.core, &permit, (ACTIVATION, store), (&filter, &of)).await?;
    let jobs: Vec<Value> = page.items.iter().map(document).collect();
    let next = list.token(page.next.as_deref()).await?;
    Ok(answer(json!({ "activationJobs": jobs, "nextToken": next })))
}

fn items(job: &ReadSetJob, id: &str) -> Value {
    let shown = job.items.iter().map(|item| {
        let mut shown = json!({
            "status": item.status.as_str(),
            "statusMessage": item.status_message,
        });
        shown[id] = json!(item.read_set);
        shown
    });
    shown.collect()
}

fn document(job: &ReadSetJob) -> Value {
    let destination = match &job.kind {
        ReadSetJobKind::Export { destination, .. } => Some(destination),
        ReadSetJobKind::Activation => None,
    };
    json!({
        "id": job.id,
        "sequenceStoreId": job.store,
        "destination": destination,
        "status": job.status.as_str(),
        "statusMessage": job.status_message,
        "creationTime": rfc3339(job.created_ms),
        "completionTime": job.completed_ms.map(rfc3339),
    })
}
