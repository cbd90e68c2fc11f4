//! Start-, Get- and ListReadSetImportJobs.

use axum::{
    Router,
    extract::State,
    response::Response,
    routing::{get, post},
};
use readvault_ops::{
    authorize::{Ask, Permit},
    core::rfc3339,
    import::{
        ImportItem, ImportJob, ImportKind, S3Uri,
        read::{self, JobFilter},
        start::{self, NewImport, NewSource},
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Filtered, List, Times, path_id, sequence_store::arn, upload::DetailsBody};
use crate::{
    Parts,
    error::ApiError,
    json::{Call, JsonBody, PageAsk, Path, Query, answer, check_arn, check_text_opt, tag_map},
};

pub(super) fn routes() -> Router<Parts> {
    Router::new()
        .route("/sequencestore/{store}/importjob", post(start_job))
        .route("/sequencestore/{store}/importjobs", post(list_jobs))
        .route("/sequencestore/{store}/importjob/{id}", get(get_job))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StartBody {
    role_arn: String,
    client_token: Option<String>,
    sources: Vec<SourceBody>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SourceBody {
    source_files: SourceFiles,
    name: Option<String>,
    #[serde(flatten)]
    details: DetailsBody,
}

#[derive(Debug, Deserialize)]
struct SourceFiles {
    source1: String,
    source2: Option<String>,
}

async fn start_job(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
    JsonBody(body): JsonBody<StartBody>,
) -> Result<Response, ApiError> {
    let store = path_id(&path, "store")?;
    let tagged = body.sources.iter().any(|source| source.details.has_tags());
    let permit = permit(
        (&parts, &call),
        ("omics:StartReadSetImportJob", arn(&parts, store)),
        &body.role_arn,
        tagged,
    )?;
    check_text_opt("clientToken", body.client_token.as_deref(), 127)?;
    let sources = body.sources.into_iter().map(source).collect::<Result<_, _>>()?;
    let new = NewImport {
        kind: ImportKind::ReadSets,
        store: store.into(),
        role_arn: body.role_arn,
        sources,
        client_token: body.client_token,
    };
    let started = start::start(&parts.core, &parts.jobs, &permit, new).await;
    let job = started.map_err(|fault| ApiError::from(fault).without_conflict())?;
    Ok(answer(document(&job, "sequenceStoreId")))
}

/// A permit to start a job under `role`, which the caller passes on and the service can assume.
pub(super) fn permit(
    (parts, call): (&Parts, &Call),
    (action, resource): (&'static str, String),
    role: &str,
    tagged: bool,
) -> Result<Permit, ApiError> {
    let mut asks = vec![Ask::new(action, resource.clone()), Ask::new("iam:PassRole", role)];
    if tagged {
        asks.push(Ask::new("omics:TagResource", resource));
    }
    let permit = call.permits(parts, &asks)?;
    check_arn("roleArn", role, 20..=2048)?;
    parts.identity.assume(role, "check")?;
    Ok(permit)
}

fn source(body: SourceBody) -> Result<NewSource, ApiError> {
    let source2 = body.source_files.source2.filter(|text| !text.is_empty());
    Ok(NewSource {
        source1: S3Uri::parse(&body.source_files.source1)?,
        source2: source2.as_deref().map(S3Uri::parse).transpose()?,
        details: body.details.checked(body.name)?,
    })
}

async fn get_job(State(parts): State<Parts>, call: Call, path: Path) -> Result<Response, ApiError> {
    let (store, id) = (path_id(&path, "store")?, path_id(&path, "id")?);
    let permit = call.permit(&parts, "omics:GetReadSetImportJob", arn(&parts, store))?;
    let which = (ImportKind::ReadSets, store, id);
    let (job, items) = read::get(&parts.core, &permit, which).await?;
    let mut document = document(&job, "sequenceStoreId");
    document["sources"] = items.iter().map(item_document).collect();
    Ok(answer(document))
}

fn item_document(item: &ImportItem) -> Value {
    let details = &item.details;
    json!({
        "sourceFiles": {
            "source1": item.source1.to_string(),
            "source2": item.source2.as_ref().map(ToString::to_string),
        },
        "sourceFileType": details.file_type,
        "status": item.status.as_str(),
        "statusMessage": item.status_message,
        "subjectId": details.subject_id,
        "sampleId": details.sample_id,
        "generatedFrom": details.generated_from,
        "referenceArn": details.reference_arn,
        "name": details.name,
        "description": details.description,
        "tags": tag_map(&details.tags),
        "readSetId": item.made,
    })
}

/// A job without its sources; `store` is what the id of its store is called.
pub(super) fn document(job: &ImportJob, store: &str) -> Value {
    let mut document = json!({
        "id": job.id,
        "roleArn": job.role_arn,
        "status": job.status.as_str(),
        "statusMessage": job.status_message,
        "creationTime": rfc3339(job.created_ms),
        "completionTime": job.completed_ms.map(rfc3339),
    });
    document[store] = json!(job.store);
    document
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct JobFilterBody {
    status: Option<String>,
    #[serde(flatten)]
    times: Times,
}

impl JobFilterBody {
    pub(super) fn filter(self) -> Result<JobFilter, ApiError> {
        const STATUSES: [&str; 7] = [
            "SUBMITTED",
            "IN_PROGRESS",
            "CANCELLING",
            "CANCELLED",
            "FAILED",
            "COMPLETED",
            "COMPLETED_WITH_FAILURES",
        ];
        if self.status.as_ref().is_some_and(|status| !STATUSES.contains(&status.as_str())) {
            return Err(ApiError::validation("filter.status is not a status of jobs"));
        }
        Ok(JobFilter {
            created_after: self.times.after()?,
            created_before: self.times.before()?,
            status: self.status,
        })
    }
}

async fn list_jobs(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
    query: Query,
    JsonBody(body): JsonBody<Filtered<JobFilterBody>>,
) -> Result<Response, ApiError> {
    let store = path_id(&path, "store")?;
    let permit = call.permit(&parts, "omics:ListReadSetImportJobs", arn(&parts, store))?;
    let filter = body.filter.unwrap_or_default().filter()?;
    let list = List::new(&parts, &call, ("ListReadSetImportJobs", store), &filter);
    let of = list.of(&PageAsk::storage(&query)?).await?;
    let which = (ImportKind::ReadSets, store);
    let page = read::list(&parts.core, &permit, which, (&filter, &of)).await?;
    let jobs: Vec<Value> = page.items.iter().map(|job| document(job, "sequenceStoreId")).collect();
    let next = list.token(page.next.as_deref()).await?;
    Ok(answer(json!({ "importJobs": jobs, "nextToken": next })))
}
