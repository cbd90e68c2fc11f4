//! References: import jobs, list, metadata, bytes, deletion.

use std::collections::BTreeMap;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
    routing::{get, post},
};
use readvault_ops::{
    core::rfc3339,
    import::{
        ImportItem, ImportKind, S3Uri,
        read::{self as jobs},
        start::{self, NewImport, NewSource},
    },
    read_set::{PART_BYTES, ReadSetFile, details::ReadSetDetails, download::part_count},
    reference::{
        Reference, delete,
        download::{self, ReferenceFileName, Wanted},
        read::{self, ReferenceFilter},
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Filtered, List, Times,
    import::{JobFilterBody, document as job_document, permit},
    path_id,
    read_set::{part_number, payload},
    reference_store::arn,
};
use crate::{
    Parts,
    error::ApiError,
    json::{
        Call, JsonBody, PageAsk, Path, Query, answer, check_tags, check_text, check_text_opt,
        tag_list, tag_map,
    },
};

pub(super) fn routes() -> Router<Parts> {
    Router::new()
        .route("/referencestore/{store}/importjob", post(start_job))
        .route("/referencestore/{store}/importjobs", post(list_jobs))
        .route("/referencestore/{store}/importjob/{id}", get(get_job))
        .route("/referencestore/{store}/references", post(list_references))
        .route("/referencestore/{store}/reference/{id}", get(get_reference).delete(remove))
        .route("/referencestore/{store}/reference/{id}/metadata", get(get_metadata))
}

fn reference_arn(parts: &Parts, store: &str, id: &str) -> String {
    format!("{}/reference/{id}", arn(parts, store))
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
    source_file: String,
    name: String,
    description: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

async fn start_job(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
    JsonBody(body): JsonBody<StartBody>,
) -> Result<Response, ApiError> {
    let store = path_id(&path, "store")?;
    let tagged = body.sources.iter().any(|source| !source.tags.is_empty());
    let permit = permit(
        (&parts, &call),
        ("omics:StartReferenceImportJob", arn(&parts, store)),
        &body.role_arn,
        tagged,
    )?;
    check_text_opt("clientToken", body.client_token.as_deref(), 127)?;
    let sources = body.sources.into_iter().map(source).collect::<Result<_, _>>()?;
    let new = NewImport {
        kind: ImportKind::References,
        store: store.into(),
        role_arn: body.role_arn,
        sources,
        client_token: body.client_token,
    };
    let started = start::start(&parts.core, &parts.jobs, &permit, new).await;
    let job = started.map_err(|fault| ApiError::from(fault).without_conflict())?;
    Ok(answer(job_document(&job, "referenceStoreId")))
}

fn source(body: SourceBody) -> Result<NewSource, ApiError> {
    check_text("name", &body.name, 255)?;
    if body.name.chars().count() < 3 {
        return Err(ApiError::validation("name must have 3 to 255 characters"));
    }
    check_text_opt("description", body.description.as_deref(), 255)?;
    check_tags(&body.tags)?;
    let details = ReadSetDetails {
        file_type: "REFERENCE".into(),
        name: Some(body.name),
        description: body.description,
        subject_id: String::new(),
        sample_id: String::new(),
        generated_from: None,
        reference_arn: None,
        tags: tag_list(body.tags),
    };
    Ok(NewSource { source1: S3Uri::parse(&body.source_file)?, source2: None, details })
}

async fn get_job(State(parts): State<Parts>, call: Call, path: Path) -> Result<Response, ApiError> {
    let (store, id) = (path_id(&path, "store")?, path_id(&path, "id")?);
    let permit = call.permit(&parts, "omics:GetReferenceImportJob", arn(&parts, store))?;
    let which = (ImportKind::References, store, id);
    let (job, items) = jobs::get(&parts.core, &permit, which).await?;
    let mut document = job_document(&job, "referenceStoreId");
    document["sources"] = items.iter().map(item_document).collect();
    Ok(answer(document))
}

fn item_document(item: &ImportItem) -> Value {
    json!({
        "sourceFile": item.source1.to_string(),
        "status": item.status.as_str(),
        "statusMessage": item.status_message,
        "name": item.details.name,
        "description": item.details.description,
        "tags": tag_map(&item.details.tags),
        "referenceId": item.made,
    })
}

async fn list_jobs(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
    query: Query,
    JsonBody(body): JsonBody<Filtered<JobFilterBody>>,
) -> Result<Response, ApiError> {
    let store = path_id(&path, "store")?;
    let permit = call.permit(&parts, "omics:ListReferenceImportJobs", arn(&parts, store))?;
    let filter = body.filter.unwrap_or_default().filter()?;
    let list = List::new(&parts, &call, ("ListReferenceImportJobs", store), &filter);
    let of = list.of(&PageAsk::storage(&query)?).await?;
    let which = (ImportKind::References, store);
    let page = jobs::list(&parts.core, &permit, which, (&filter, &of)).await?;
    let listed: Vec<Value> =
        page.items.iter().map(|job| job_document(job, "referenceStoreId")).collect();
    let next = list.token(page.next.as_deref()).await?;
    Ok(answer(json!({ "importJobs": listed, "nextToken": next })))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FilterBody {
    name: Option<String>,
    md5: Option<String>,
    #[serde(flatten)]
    times: Times,
}

async fn list_references(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
    query: Query,
    JsonBody(body): JsonBody<Filtered<FilterBody>>,
) -> Result<Response, ApiError> {
    let store = path_id(&path, "store")?;
    let permit = call.permit(&parts, "omics:ListReferences", arn(&parts, store))?;
    let body = body.filter.unwrap_or_default();
    let filter = ReferenceFilter {
        created_after: body.times.after()?,
        created_before: body.times.before()?,
        name: body.name,
        md5: body.md5,
    };
    let list = List::new(&parts, &call, ("ListReferences", store), &filter);
    let of = list.of(&PageAsk::storage(&query)?).await?;
    let page = read::list(&parts.core, &permit, store, (&filter, &of)).await?;
    let listed: Vec<Value> =
        page.items.iter().map(|reference| list_item(&parts, reference)).collect();
    let next = list.token(page.next.as_deref()).await?;
    Ok(answer(json!({ "references": listed, "nextToken": next })))
}

fn list_item(parts: &Parts, reference: &Reference) -> Value {
    json!({
        "id": reference.id,
        "arn": reference.arn(parts.core.site()),
        "referenceStoreId": reference.reference_store,
        "md5": reference.md5,
        "status": reference.status,
        "name": reference.name,
        "description": reference.description,
        "creationTime": rfc3339(reference.created_ms),
        "updateTime": rfc3339(reference.updated_ms),
    })
}

async fn get_metadata(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
) -> Result<Response, ApiError> {
    let (store, id) = (path_id(&path, "store")?, path_id(&path, "id")?);
    let resource = reference_arn(&parts, store, id);
    let permit = call.permit(&parts, "omics:GetReferenceMetadata", resource)?;
    let reference = read::get(&parts.core, &permit, store, id).await?;
    let about = |file: &ReadSetFile| {
        json!({
            "totalParts": part_count(file.file.length),
            "partSize": PART_BYTES,
            "contentLength": file.file.length,
        })
    };
    let mut document = list_item(&parts, &reference);
    document["files"] = json!({
        "source": about(&reference.source),
        "index": reference.index.as_ref().map(about),
    });
    document["creationType"] = json!("IMPORT");
    document["creationJobId"] = json!(reference.creation_job);
    Ok(answer(document))
}

async fn get_reference(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (store, id) = (path_id(&path, "store")?, path_id(&path, "id")?);
    let permit = call.permit(&parts, "omics:GetReference", reference_arn(&parts, store, id))?;
    let file = match query.one("file")? {
        None | Some("SOURCE") => ReferenceFileName::Source,
        Some("INDEX") => ReferenceFileName::Index,
        Some(_) => return Err(ApiError::validation("file must be SOURCE or INDEX")),
    };
    let within = headers.get(header::RANGE).map(range).transpose()?;
    let status = if within.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let wanted = Wanted { file, part: part_number(&query)?, within };
    let opened = download::part(&parts.core, &permit, (store, id), wanted).await?;
    let content_range = within.map(|_| {
        let (range, length) = (&opened.range, opened.length);
        format!("bytes {}-{}/{length}", range.start, range.end.saturating_sub(1))
    });
    let mut response = payload(opened, status);
    if let Some(value) = content_range.and_then(|text| HeaderValue::from_str(&text).ok()) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    Ok(response)
}

/// First and last byte of `bytes=a-b` or `bytes=a-`.
fn range(value: &HeaderValue) -> Result<(u64, Option<u64>), ApiError> {
    let wrong = || ApiError::validation("range must be bytes=FIRST-LAST or bytes=FIRST-");
    let text = value.to_str().map_err(|_| wrong())?;
    let (first, last) =
        text.strip_prefix("bytes=").and_then(|rest| rest.split_once('-')).ok_or_else(wrong)?;
    let first = first.parse().map_err(|_| wrong())?;
    let last = match last {
        "" => None,
        last => Some(last.parse().map_err(|_| wrong())?),
    };
    Ok((first, last))
}

async fn remove(State(parts): State<Parts>, call: Call, path: Path) -> Result<Response, ApiError> {
    let (store, id) = (path_id(&path, "store")?, path_id(&path, "id")?);
    let resource = reference_arn(&parts, store, id);
    let permit = call.permit(&parts, "omics:DeleteReference", resource)?;
    delete::delete(&parts.core, &permit, store, id).await?;
    Ok(answer(json!({})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_in_the_two_legal_forms() {
        let read = |text: &str| range(&HeaderValue::from_str(text).expect("a header")).ok();
        assert_eq!(read("bytes=0-10"), Some((0, Some(10))));
        assert_eq!(read("bytes=5-"), Some((5, None)));
        for bad in ["bytes=-5", "bytes=a-b", "0-10", "bytes=1-2,3-4", "bytes=", "bytes=-"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
