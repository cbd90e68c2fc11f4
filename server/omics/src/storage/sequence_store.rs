//! Create-, Get-, List-, Update- and DeleteSequenceStore.

use std::collections::BTreeMap;

use axum::{
    Router,
    extract::State,
    response::Response,
    routing::{get, post},
};
use readvault_ops::{
    authorize::Ask,
    core::rfc3339,
    sequence_store::{
        SequenceStore, create, delete,
        read::{self, StoreFilter},
        update,
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Filtered, List, path_id, time_opt};
use crate::{
    Parts,
    error::ApiError,
    json::{
        Call, JsonBody, PageAsk, Path, Query, answer, check_tags, check_text, check_text_opt,
        tag_list,
    },
};

pub(super) fn routes() -> Router<Parts> {
    Router::new()
        .route("/sequencestore", post(create_store))
        .route("/sequencestores", post(list_stores))
        .route("/sequencestore/{store}", get(get_store).patch(update_store).delete(delete_store))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct S3AccessConfig {
    access_log_location: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateBody {
    name: String,
    description: Option<String>,
    sse_config: Option<Value>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    client_token: Option<String>,
    fallback_location: Option<String>,
    e_tag_algorithm_family: Option<String>,
    #[serde(default)]
    propagated_set_level_tags: Vec<String>,
    s3_access_config: Option<S3AccessConfig>,
}

async fn create_store(
    State(parts): State<Parts>,
    call: Call,
    JsonBody(body): JsonBody<CreateBody>,
) -> Result<Response, ApiError> {
    let mut asks = vec![Ask::new("omics:CreateSequenceStore", "*")];
    if !body.tags.is_empty() {
        asks.push(Ask::new("omics:TagResource", "*"));
    }
    let permit = call.permits(&parts, &asks)?;
    check_text("name", &body.name, 127)?;
    check_text_opt("description", body.description.as_deref(), 255)?;
    check_text_opt("clientToken", body.client_token.as_deref(), 127)?;
    check_tags(&body.tags)?;
    check_keys(&body.propagated_set_level_tags)?;
    check_location(body.fallback_location.as_deref())?;
    check_access(body.s3_access_config.as_ref())?;
    refuse_key(body.sse_config.as_ref())?;
    let family = body.e_tag_algorithm_family.unwrap_or_else(|| "MD5up".into());
    if !["MD5up", "SHA256up", "SHA512up"].contains(&family.as_str()) {
        return Err(ApiError::validation(
            "eTagAlgorithmFamily must be MD5up, SHA256up or SHA512up",
        ));
    }
    let new = create::NewSequenceStore {
        name: body.name,
        description: body.description,
        fallback_location: body.fallback_location.filter(|text| !text.is_empty()),
        etag_family: family,
        propagated_tags: body.propagated_set_level_tags,
        tags: tag_list(body.tags),
        client_token: body.client_token,
    };
    let made = create::create(&parts.core, &permit, new).await;
    let store = made.map_err(|fault| ApiError::from(fault).without_conflict())?;
    Ok(answer(document(&parts, &store)))
}

/// Refuses a key of one's own, which is not built, with what to do.
pub(super) fn refuse_key(config: Option<&Value>) -> Result<(), ApiError> {
    match config {
        None | Some(Value::Null) => Ok(()),
        Some(_) => Err(ApiError::validation(
            "sseConfig is not built: leave it out, and the vault's master key is used",
        )),
    }
}

fn check_keys(keys: &[String]) -> Result<(), ApiError> {
    keys.iter().try_for_each(|key| check_text("propagatedSetLevelTags", key, 128))
}

fn check_location(location: Option<&str>) -> Result<(), ApiError> {
    if location.is_none_or(|text| text.is_empty() || is_location(text)) {
        return Ok(());
    }
    Err(ApiError::validation("fallbackLocation must be s3://bucket or s3://bucket/prefix/"))
}

/// Whether `text` is `s3://bucket` or `s3://bucket/prefix/`.
pub(super) fn is_location(text: &str) -> bool {
    text.len() <= 1024
        && text.strip_prefix("s3://").is_some_and(|rest| {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            (3..=63).contains(&bucket.len()) && (prefix.is_empty() || prefix.ends_with('/'))
        })
}

fn check_access(config: Option<&S3AccessConfig>) -> Result<(), ApiError> {
    let location = config.and_then(|config| config.access_log_location.as_deref());
    match location {
        None | Some("") => Ok(()),
        Some(_) => Err(ApiError::validation(
            "accessLogLocation is not built: every access is in the vault's own log",
        )),
    }
}

async fn get_store(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
) -> Result<Response, ApiError> {
    let id = path_id(&path, "store")?;
    let permit = call.permit(&parts, "omics:GetSequenceStore", arn(&parts, id))?;
    let store = read::get(&parts.core, &permit, id).await?;
    Ok(answer(document(&parts, &store)))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct StoreFilterBody {
    name: Option<String>,
    created_after: Option<Value>,
    created_before: Option<Value>,
    updated_after: Option<Value>,
    updated_before: Option<Value>,
    status: Option<String>,
}

impl StoreFilterBody {
    pub(super) fn filter(&self) -> Result<StoreFilter, ApiError> {
        check_text_opt("filter.name", self.name.as_deref(), 127)?;
        Ok(StoreFilter {
            name: self.name.clone(),
            created_after: time_opt("filter.createdAfter", self.created_after.as_ref())?,
            created_before: time_opt("filter.createdBefore", self.created_before.as_ref())?,
            updated_after: time_opt("filter.updatedAfter", self.updated_after.as_ref())?,
            updated_before: time_opt("filter.updatedBefore", self.updated_before.as_ref())?,
            status: self.status.clone(),
        })
    }
}

async fn list_stores(
    State(parts): State<Parts>,
    call: Call,
    query: Query,
    JsonBody(body): JsonBody<Filtered<StoreFilterBody>>,
) -> Result<Response, ApiError> {
    let permit = call.permit(&parts, "omics:ListSequenceStores", "*")?;
    let filter = body.filter.unwrap_or_default().filter()?;
    let list = List::new(&parts, &call, ("ListSequenceStores", ""), &filter);
    let of = list.of(&PageAsk::storage(&query)?).await?;
    let page = read::list(&parts.core, &permit, &filter, &of).await?;
    let stores: Vec<Value> = page.items.iter().map(|store| document(&parts, store)).collect();
    let next = list.token(page.next.as_deref()).await?;
    Ok(answer(json!({ "sequenceStores": stores, "nextToken": next })))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateBody {
    name: Option<String>,
    description: Option<String>,
    client_token: Option<String>,
    fallback_location: Option<String>,
    propagated_set_level_tags: Option<Vec<String>>,
    s3_access_config: Option<S3AccessConfig>,
}

async fn update_store(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
    JsonBody(body): JsonBody<UpdateBody>,
) -> Result<Response, ApiError> {
    let id = path_id(&path, "store")?;
    let permit = call.permit(&parts, "omics:UpdateSequenceStore", arn(&parts, id))?;
    check_text_opt("name", body.name.as_deref(), 127)?;
    check_text_opt("description", body.description.as_deref(), 255)?;
    check_text_opt("clientToken", body.client_token.as_deref(), 127)?;
    check_keys(body.propagated_set_level_tags.as_deref().unwrap_or_default())?;
    check_location(body.fallback_location.as_deref())?;
    check_access(body.s3_access_config.as_ref())?;
    let change = update::SequenceStoreChange {
        name: body.name,
        description: body.description,
        fallback_location: body.fallback_location,
        propagated_tags: body.propagated_set_level_tags,
        client_token: body.client_token,
    };
    let store = update::update(&parts.core, &permit, id, change).await?;
    Ok(answer(document(&parts, &store)))
}

async fn delete_store(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
) -> Result<Response, ApiError> {
    let id = path_id(&path, "store")?;
    let permit = call.permit(&parts, "omics:DeleteSequenceStore", arn(&parts, id))?;
    delete::delete(&parts.core, &permit, id).await?;
    Ok(answer(json!({})))
}

/// The ARN of the sequence store `id`.
pub(super) fn arn(parts: &Parts, id: &str) -> String {
    parts.core.site().arn("omics", &format!("sequenceStore/{id}"))
}

fn document(parts: &Parts, store: &SequenceStore) -> Value {
    let site = parts.core.site();
    json!({
        "id": store.id,
        "arn": store.arn(site),
        "name": store.name,
        "description": store.description,
        "creationTime": rfc3339(store.created_ms),
        "updateTime": rfc3339(store.updated_ms),
        "fallbackLocation": store.fallback_location,
        "eTagAlgorithmFamily": store.etag_family,
        "status": "ACTIVE",
        "propagatedSetLevelTags": store.propagated_tags,
        "s3Access": {
            "s3Uri": store.s3_uri(site),
            "s3AccessPointArn": store.access_point_arn(site),
        },
    })
}
