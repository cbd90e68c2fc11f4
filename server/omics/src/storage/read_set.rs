//! ListReadSets, GetReadSetMetadata, GetReadSet and BatchDeleteReadSet.

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use readvault_ops::{
    authorize::Ask,
    core::rfc3339,
    fault::Result as OpsResult,
    read_set::{
        PART_BYTES, ReadSet, ReadSetFile, delete,
        download::{self, Download, ReadSetFileName, part_count},
        index::{self, ReadSetFilter},
        read,
    },
    sequence_store::{self, SequenceStore},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Filtered, List, Times, path_id, sequence_store::arn};
use crate::{
    Parts,
    error::ApiError,
    json::{Call, JsonBody, PageAsk, Path, Query, answer, check_id, check_text_opt},
};

pub(super) fn routes() -> Router<Parts> {
    Router::new()
        .route("/sequencestore/{store}/readsets", post(list_read_sets))
        .route("/sequencestore/{store}/readset/batch/delete", post(batch_delete))
        .route("/sequencestore/{store}/readset/{id}", get(get_read_set))
        .route("/sequencestore/{store}/readset/{id}/metadata", get(get_metadata))
}

fn read_set_arn(parts: &Parts, store: &str, id: &str) -> String {
    format!("{}/readSet/{id}", arn(parts, store))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FilterBody {
    name: Option<String>,
    status: Option<String>,
    reference_arn: Option<String>,
    sample_id: Option<String>,
    subject_id: Option<String>,
    generated_from: Option<String>,
    creation_type: Option<String>,
    #[serde(flatten)]
    times: Times,
}

const STATUSES: [&str; 7] = [
    "ARCHIVED",
    "ACTIVATING",
    "ACTIVE",
    "DELETING",
    "DELETED",
    "PROCESSING_UPLOAD",
    "UPLOAD_FAILED",
];

impl FilterBody {
    fn filter(self) -> Result<ReadSetFilter, ApiError> {
        for (field, text) in [
            ("filter.name", &self.name),
            ("filter.sampleId", &self.sample_id),
            ("filter.subjectId", &self.subject_id),
            ("filter.generatedFrom", &self.generated_from),
        ] {
            check_text_opt(field, text.as_deref(), 127)?;
        }
        if self.status.as_ref().is_some_and(|status| !STATUSES.contains(&status.as_str())) {
            return Err(ApiError::validation("filter.status is not a status of read sets"));
        }
        let kinds = ["IMPORT", "UPLOAD"];
        if self.creation_type.as_ref().is_some_and(|kind| !kinds.contains(&kind.as_str())) {
            return Err(ApiError::validation("filter.creationType must be IMPORT or UPLOAD"));
        }
        Ok(ReadSetFilter {
            created_after: self.times.after()?,
            created_before: self.times.before()?,
            name: self.name,
            status: self.status,
            reference_arn: self.reference_arn,
            sample_id: self.sample_id,
            subject_id: self.subject_id,
            generated_from: self.generated_from,
            creation_type: self.creation_type,
        })
    }
}

async fn list_read_sets(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
    query: Query,
    JsonBody(body): JsonBody<Filtered<FilterBody>>,
) -> Result<Response, ApiError> {
    let store = path_id(&path, "store")?;
    let permit = call.permit(&parts, "omics:ListReadSets", arn(&parts, store))?;
    let filter = body.filter.unwrap_or_default().filter()?;
    let list = List::new(&parts, &call, ("ListReadSets", store), &filter);
    let of = list.of(&PageAsk::storage(&query)?).await?;
    let page = index::list(&parts.core, &permit, store, (&filter, &of)).await?;
    let read_sets: Vec<Value> =
        page.items.iter().map(|read_set| list_item(&parts, read_set)).collect();
    let next = list.token(page.next.as_deref()).await?;
    Ok(answer(json!({ "readSets": read_sets, "nextToken": next })))
}

fn list_item(parts: &Parts, read_set: &ReadSet) -> Value {
    let facts = read_set.facts.as_ref();
    let etag = facts.and_then(|facts| {
        facts.etag_algorithm.as_ref().map(|algorithm| {
            json!({
                "algorithm": algorithm,
                "source1": facts.etag_source1,
                "source2": facts.etag_source2,
            })
        })
    });
    json!({
        "id": read_set.id,
        "arn": read_set.arn(parts.core.site()),
        "sequenceStoreId": read_set.sequence_store,
        "subjectId": read_set.subject_id,
        "sampleId": read_set.sample_id,
        "status": read_set.status.as_str(),
        "name": read_set.name,
        "description": read_set.description,
        "fileType": read_set.file_type,
        "creationTime": rfc3339(read_set.created_ms),
        "referenceArn": read_set.reference_arn,
        "statusMessage": read_set.status_message,
        "creationType": read_set.creation_type,
        "etag": etag,
        "sequenceInformation": facts.map(|facts| json!({
            "totalReadCount": facts.read_count,
            "totalBaseCount": facts.base_count,
            "generatedFrom": read_set.generated_from,
            "alignment": facts.alignment,
        })),
    })
}

async fn get_metadata(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
) -> Result<Response, ApiError> {
    let (store, id) = (path_id(&path, "store")?, path_id(&path, "id")?);
    let resource = read_set_arn(&parts, store, id);
    let permit = call.permit(&parts, "omics:GetReadSetMetadata", resource)?;
    let read_set = read::get(&parts.core, &permit, store, id).await?;
    let owner = sequence_store::read::get(&parts.core, &permit, store).await?;
    let mut document = list_item(&parts, &read_set);
    let about = |file: &ReadSetFile| file_information(&parts, &owner, &read_set, file);
    document["files"] = json!({
        "source1": about(&read_set.files.source1),
        "source2": read_set.files.source2.as_ref().map(about),
        "index": read_set.files.index.as_ref().map(about),
    });
    document["creationJobId"] = json!(read_set.creation_job);
    Ok(answer(document))
}

fn file_information(
    parts: &Parts,
    store: &SequenceStore,
    read_set: &ReadSet,
    file: &ReadSetFile,
) -> Value {
    let key = read_set.object_key(&parts.core.site().account, &file.name);
    json!({
        "totalParts": part_count(file.file.length),
        "partSize": PART_BYTES,
        "contentLength": file.file.length,
        "s3Access": { "s3Uri": format!("s3://{}/{key}", store.alias) },
    })
}

async fn get_read_set(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
    query: Query,
) -> Result<Response, ApiError> {
    let (store, id) = (path_id(&path, "store")?, path_id(&path, "id")?);
    let permit = call.permit(&parts, "omics:GetReadSet", read_set_arn(&parts, store, id))?;
    let name = match query.one("file")? {
        None | Some("SOURCE1") => ReadSetFileName::Source1,
        Some("SOURCE2") => ReadSetFileName::Source2,
        Some("INDEX") => ReadSetFileName::Index,
        Some(_) => return Err(ApiError::validation("file must be SOURCE1, SOURCE2 or INDEX")),
    };
    let number = part_number(&query)?;
    let opened = download::part(&parts.core, &permit, (store, id), (name, number)).await;
    Ok(payload(opened?, StatusCode::OK))
}

/// The part that is asked for.
pub(super) fn part_number(query: &Query) -> Result<u64, ApiError> {
    query
        .number("partNumber", 1..=10_000)?
        .ok_or_else(|| ApiError::validation("partNumber is required"))
}

/// Bytes as an answer, with their length, so that a client sees an answer that was cut short.
pub(super) fn payload(download: Download, status: StatusCode) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, download.bytes().to_string()),
    ];
    (status, headers, Body::from_stream(download.stream())).into_response()
}

#[derive(Debug, Deserialize)]
struct BatchDeleteBody {
    ids: Vec<String>,
}

async fn batch_delete(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
    JsonBody(body): JsonBody<BatchDeleteBody>,
) -> Result<Response, ApiError> {
    let store = path_id(&path, "store")?;
    let permit = call.permit(&parts, "omics:BatchDeleteReadSet", arn(&parts, store))?;
    if !(1..=100).contains(&body.ids.len()) {
        return Err(ApiError::validation("ids must have 1 to 100 entries"));
    }
    body.ids.iter().try_for_each(|id| check_id("ids", id, 10..=36))?;
    sequence_store::read::get(&parts.core, &permit, store).await?;
    let asks: Vec<Ask> = body
        .ids
        .iter()
        .map(|id| Ask::new("omics:BatchDeleteReadSet", read_set_arn(&parts, store, id)))
        .collect();
    let mut errors = Vec::new();
    for (id, permit) in body.ids.iter().zip(parts.authorizer.authorize_each(&call.caller, &asks)) {
        let deleted: OpsResult<()> = match permit {
            Ok(permit) => delete::delete(&parts.core, &permit, store, id).await,
            Err(refused) => Err(refused),
        };
        if let Err(fault) = deleted {
            let error = ApiError::from(fault);
            errors.push(json!({ "id": id, "code": error.code, "message": error.message }));
        }
    }
    let errors = (!errors.is_empty()).then_some(errors);
    Ok(answer(json!({ "errors": errors })))
}
