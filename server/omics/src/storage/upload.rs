//! Direct uploads: Create, UploadReadSetPart, the two lists, Complete and Abort.

use std::collections::BTreeMap;

use axum::{
    Extension, Router,
    body::Body,
    extract::State,
    response::Response,
    routing::{delete, post, put},
};
use futures::StreamExt;
use readvault_ops::{
    authorize::Ask,
    core::rfc3339,
    read_set::details::ReadSetDetails,
    read_set_upload::{
        PART_BYTES_MAX, PartSource, ReadSetUpload, UploadedPart, abort, complete, create, part,
        read::{self, PartFilter},
    },
};
use readvault_store::vault::BodyError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Filtered, List, Times, path_id, sequence_store::arn};
use crate::{
    Parts,
    error::ApiError,
    gate::DeclaredPayload,
    json::{
        Call, JsonBody, PageAsk, Path, Query, answer, check_arn, check_tags, check_text,
        check_text_opt, tag_list, tag_map,
    },
};

pub(super) fn routes() -> Router<Parts> {
    Router::new()
        .route("/sequencestore/{store}/upload", post(create_upload))
        .route("/sequencestore/{store}/uploads", post(list_uploads))
        .route("/sequencestore/{store}/upload/{upload}/part", put(upload_part))
        .route("/sequencestore/{store}/upload/{upload}/parts", post(list_parts))
        .route("/sequencestore/{store}/upload/{upload}/complete", post(complete_upload))
        .route("/sequencestore/{store}/upload/{upload}/abort", delete(abort_upload))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateBody {
    client_token: Option<String>,
    #[serde(flatten)]
    details: DetailsBody,
    name: String,
}

/// What upload and import say of a read set alike.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DetailsBody {
    source_file_type: String,
    subject_id: String,
    sample_id: String,
    generated_from: Option<String>,
    reference_arn: Option<String>,
    description: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

impl DetailsBody {
    pub(super) fn has_tags(&self) -> bool {
        !self.tags.is_empty()
    }

    /// The details, each field checked by its form.
    pub(super) fn checked(self, name: Option<String>) -> Result<ReadSetDetails, ApiError> {
        check_text_opt("name", name.as_deref(), 127)?;
        check_text("subjectId", &self.subject_id, 127)?;
        check_text("sampleId", &self.sample_id, 127)?;
        check_text_opt("generatedFrom", self.generated_from.as_deref(), 127)?;
        check_text_opt("description", self.description.as_deref(), 255)?;
        let reference_arn = self.reference_arn.filter(|arn| !arn.is_empty());
        if let Some(arn) = &reference_arn {
            check_arn("referenceArn", arn, 1..=127)?;
        }
        check_tags(&self.tags)?;
        Ok(ReadSetDetails {
            file_type: self.source_file_type,
            name,
            description: self.description,
            subject_id: self.subject_id,
            sample_id: self.sample_id,
            generated_from: self.generated_from,
            reference_arn,
            tags: tag_list(self.tags),
        })
    }
}

async fn create_upload(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
    JsonBody(body): JsonBody<CreateBody>,
) -> Result<Response, ApiError> {
    let store = path_id(&path, "store")?;
    let mut asks = vec![Ask::new("omics:CreateMultipartReadSetUpload", arn(&parts, store))];
    if body.details.has_tags() {
        asks.push(Ask::new("omics:TagResource", arn(&parts, store)));
    }
    let permit = call.permits(&parts, &asks)?;
    check_text_opt("clientToken", body.client_token.as_deref(), 127)?;
    let details = body.details.checked(Some(body.name))?;
    let made = create::create(&parts.core, &permit, store, details, body.client_token).await;
    let upload = made.map_err(|fault| ApiError::from(fault).without_conflict())?;
    Ok(answer(document(&upload)))
}

fn document(upload: &ReadSetUpload) -> Value {
    let details = &upload.details;
    json!({
        "sequenceStoreId": upload.sequence_store,
        "uploadId": upload.id,
        "sourceFileType": details.file_type,
        "subjectId": details.subject_id,
        "sampleId": details.sample_id,
        "generatedFrom": details.generated_from,
        "referenceArn": details.reference_arn,
        "name": details.name,
        "description": details.description,
        "tags": tag_map(&details.tags),
        "creationTime": rfc3339(upload.created_ms),
    })
}

async fn list_uploads(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
    query: Query,
) -> Result<Response, ApiError> {
    let store = path_id(&path, "store")?;
    let permit = call.permit(&parts, "omics:ListMultipartReadSetUploads", arn(&parts, store))?;
    let list = List::new(&parts, &call, ("ListMultipartReadSetUploads", store), &());
    let of = list.of(&PageAsk::storage(&query)?).await?;
    let page = read::uploads(&parts.core, &permit, store, &of).await?;
    let uploads: Vec<Value> = page.items.iter().map(document).collect();
    let next = list.token(page.next.as_deref()).await?;
    Ok(answer(json!({ "uploads": uploads, "nextToken": next })))
}

async fn upload_part(
    State(parts): State<Parts>,
    call: Call,
    (path, query): (Path, Query),
    Extension(declared): Extension<DeclaredPayload>,
    body: Body,
) -> Result<Response, ApiError> {
    let (store, upload) = (path_id(&path, "store")?, path_id(&path, "upload")?);
    let permit = call.permit(&parts, "omics:UploadReadSetPart", arn(&parts, store))?;
    let source = PartSource::parse(query.required("partSource")?)?;
    let number = query
        .number("partNumber", 1..=10_000)?
        .ok_or_else(|| ApiError::validation("partNumber is required"))?;
    let new = part::NewPart {
        store: store.into(),
        upload: upload.into(),
        source,
        number: u32::try_from(number).unwrap_or(u32::MAX),
        sha256: declared.0,
    };
    let stream = body.into_data_stream().map(|piece| piece.map_err(|e| Box::new(e) as BodyError));
    let part = part::put(&parts.core, &permit, new, stream).await?;
    Ok(answer(json!({ "checksum": part.checksum })))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListPartsBody {
    part_source: String,
    #[serde(flatten)]
    filtered: Filtered<Times>,
}

async fn list_parts(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
    query: Query,
    JsonBody(body): JsonBody<ListPartsBody>,
) -> Result<Response, ApiError> {
    let (store, upload) = (path_id(&path, "store")?, path_id(&path, "upload")?);
    let permit = call.permit(&parts, "omics:ListReadSetUploadParts", arn(&parts, store))?;
    let times = body.filtered.filter.unwrap_or_default();
    let filter = PartFilter {
        source: PartSource::parse(&body.part_source)?,
        created_after: times.after()?,
        created_before: times.before()?,
    };
    let list = List::new(&parts, &call, ("ListReadSetUploadParts", upload), &filter);
    let of = list.of(&PageAsk::storage(&query)?).await?;
    let page = read::parts(&parts.core, &permit, (store, upload), (&filter, &of)).await?;
    let listed: Vec<Value> = page.items.iter().map(part_document).collect();
    let next = list.token(page.next.as_deref()).await?;
    Ok(answer(json!({ "parts": listed, "nextToken": next })))
}

fn part_document(part: &UploadedPart) -> Value {
    debug_assert!(part.file.length <= PART_BYTES_MAX, "a part keeps to its limit");
    json!({
        "partNumber": part.number,
        "partSize": part.file.length,
        "partSource": part.source.as_str(),
        "checksum": part.checksum,
        "creationTime": rfc3339(part.created_ms),
        "lastUpdatedTime": rfc3339(part.updated_ms),
    })
}

#[derive(Debug, Deserialize)]
struct CompleteBody {
    parts: Vec<complete::ListedPart>,
}

async fn complete_upload(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
    JsonBody(body): JsonBody<CompleteBody>,
) -> Result<Response, ApiError> {
    let (store, upload) = (path_id(&path, "store")?, path_id(&path, "upload")?);
    let permit = call.permit(&parts, "omics:CompleteMultipartReadSetUpload", arn(&parts, store))?;
    let ids = (store, upload);
    let done = complete::complete(&parts.core, &parts.jobs, &permit, ids, body.parts).await;
    let id = done.map_err(|fault| ApiError::from(fault).without_conflict())?;
    Ok(answer(json!({ "readSetId": id })))
}

async fn abort_upload(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
) -> Result<Response, ApiError> {
    let (store, upload) = (path_id(&path, "store")?, path_id(&path, "upload")?);
    let permit = call.permit(&parts, "omics:AbortMultipartReadSetUpload", arn(&parts, store))?;
    abort::abort(&parts.core, &parts.jobs, &permit, (store, upload)).await?;
    Ok(answer(json!({})))
}
