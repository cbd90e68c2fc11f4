//! TagResource, UntagResource and ListTagsForResource.

use std::collections::BTreeMap;

use axum::{Router, extract::State, http::StatusCode, response::Response, routing::get};
use readvault_ops::tags;
use serde::Deserialize;
use serde_json::json;

use crate::{
    Parts,
    error::ApiError,
    json::{Call, JsonBody, Path, Query, answer, check_arn, check_tags},
};

pub(super) fn routes() -> Router<Parts> {
    Router::new().route("/tags/{arn}", get(list).post(tag).delete(untag))
}

async fn list(State(parts): State<Parts>, call: Call, path: Path) -> Result<Response, ApiError> {
    let arn = path.get("arn");
    check_arn("resourceArn", arn, 1..=190)?;
    let permit = call.permit(&parts, "omics:ListTagsForResource", arn)?;
    let tags = tags::list(&parts.core, &permit, arn).await?;
    Ok(answer(json!({ "tags": tags })))
}

#[derive(Debug, Deserialize)]
struct TagBody {
    tags: BTreeMap<String, String>,
}

async fn tag(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
    JsonBody(body): JsonBody<TagBody>,
) -> Result<StatusCode, ApiError> {
    let arn = path.get("arn");
    check_arn("resourceArn", arn, 1..=190)?;
    let permit = call.permit(&parts, "omics:TagResource", arn)?;
    check_tags(&body.tags)?;
    tags::set(&parts.core, &permit, arn, body.tags).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn untag(
    State(parts): State<Parts>,
    call: Call,
    path: Path,
    query: Query,
) -> Result<StatusCode, ApiError> {
    let arn = path.get("arn");
    check_arn("resourceArn", arn, 1..=190)?;
    let permit = call.permit(&parts, "omics:UntagResource", arn)?;
    let keys: Vec<String> = query.all("tagKeys").map(ToOwned::to_owned).collect();
    if keys.len() > 50 {
        return Err(ApiError::validation("tagKeys may have at most 50 entries"));
    }
    tags::remove(&parts.core, &permit, arn, keys).await?;
    Ok(StatusCode::NO_CONTENT)
}
