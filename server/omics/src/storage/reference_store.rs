//! Create-, Get-, List- and DeleteReferenceStore.

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
    reference_store::{ReferenceStore, create, delete, read},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Filtered, List, path_id,
    sequence_store::{StoreFilterBody, refuse_key},
};
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
        .route("/referencestore", post(create_store))
        .route("/referencestores", post(list_stores))
        .route("/referencestore/{store}", get(get_store).delete(delete_store))
}

/// The ARN of the reference store `id`.
pub(super) fn arn(parts: &Parts, id: &str) -> String {
    parts.core.site().arn("omics", &format!("referenceStore/{id}"))
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
}

async fn create_store(
    State(parts): State<Parts>,
    call: Call,
    JsonBody(body): JsonBody<CreateBody>,
) -> Result<Response, ApiError> {
    let mut asks = vec![Ask::new("omics:CreateReferenceStore", "*")];
    if !body.tags.is_empty() {
        asks.push(Ask::new("omics:TagResource", "*"));
    }
    let permit = call.permits(&parts, &asks)?;
    check_text("name", &body.name, 127)?;
    check_text_opt("description", body.description.as_deref(), 255)?;
    check_text_opt("clientToken", body.client_token.as_deref(), 127)?;
    check_tags(&body.tags)?;
    refuse_key(body.sse_config.as_ref())?;
    let new = create::NewReferenceStore {
        name: body.name,
        description: body.description,
        tags: tag_list(body.tags),
        client_token: body.client_token,
    };
    let made = create::create(&parts.core, &permit, new).await;
    let store = made.map_err(|fault| ApiError::from(fault).without_conflict())?;
    Ok(answer(document(&parts, &store)))
}

async fn get_store(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
) -> Result<Response, ApiError> {
    let id = path_id(&path, "store")?;
    let permit = call.permit(&parts, "omics:GetReferenceStore", arn(&parts, id))?;
    let store = read::get(&parts.core, &permit, id).await?;
    Ok(answer(document(&parts, &store)))
}

async fn list_stores(
    State(parts): State<Parts>,
    call: Call,
    query: Query,
    JsonBody(body): JsonBody<Filtered<StoreFilterBody>>,
) -> Result<Response, ApiError> {
    let permit = call.permit(&parts, "omics:ListReferenceStores", "*")?;
    let filter = body.filter.unwrap_or_default().filter()?;
    let list = List::new(&parts, &call, ("ListReferenceStores", ""), &filter);
    let of = list.of(&PageAsk::storage(&query)?).await?;
    let page = read::list(&parts.core, &permit, &filter, &of).await?;
    let stores: Vec<Value> = page.items.iter().map(|store| document(&parts, store)).collect();
    let next = list.token(page.next.as_deref()).await?;
    Ok(answer(json!({ "referenceStores": stores, "nextToken": next })))
}

async fn delete_store(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
) -> Result<Response, ApiError> {
    let id = path_id(&path, "store")?;
    let permit = call.permit(&parts, "omics:DeleteReferenceStore", arn(&parts, id))?;
    delete::delete(&parts.core, &permit, id).await?;
    Ok(answer(json!({})))
}

fn document(parts: &Parts, store: &ReferenceStore) -> Value {
    json!({
        "id": store.id,
        "arn": store.arn(parts.core.site()),
        "name": store.name,
        "description": store.description,
        "creationTime": rfc3339(store.created_ms),
    })
}
