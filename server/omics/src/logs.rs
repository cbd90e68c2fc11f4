//! CloudWatch Logs, read-only (JSON 1.1): the streams of runs.

mod events;
mod streams;
mod token;

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use readvault_ops::{Fault, FaultKind, run_log::GROUP};
use serde_json::Value;

use crate::{
    Parts,
    error::ApiError,
    json::{Call, JsonBody},
};

pub(crate) fn routes() -> Router<Parts> {
    Router::new().route("/", post(serve))
}

const TARGET: &str = "Logs_20140328.";

async fn serve(
    State(parts): State<Parts>,
    call: Call,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Value>,
) -> Result<Response, ApiError> {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok());
    let operation = target.and_then(|target| target.strip_prefix(TARGET)).unwrap_or_default();
    let answer = match operation {
        "DescribeLogGroups" => streams::groups(&parts, &call, body),
        "DescribeLogStreams" => streams::streams(&parts, &call, body).await,
        "GetLogEvents" => events::get(&parts, &call, body).await,
        "FilterLogEvents" => events::filter(&parts, &call, body).await,
        _ => Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "UnknownOperationException",
            "this vault serves DescribeLogGroups, DescribeLogStreams, GetLogEvents and \
             FilterLogEvents of CloudWatch Logs",
        )),
    }?;
    let kind = [(header::CONTENT_TYPE, "application/x-amz-json-1.1")];
    Ok((kind, Json(answer)).into_response())
}

/// A parameter is not as the contract of CloudWatch Logs says.
fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "InvalidParameterException", message)
}

/// A fault, in the words of CloudWatch Logs, which knows no 404.
fn said(fault: Fault) -> ApiError {
    match fault.kind {
        FaultKind::NotFound => {
            ApiError::new(StatusCode::BAD_REQUEST, "ResourceNotFoundException", fault.message)
        }
        _ => fault.into(),
    }
}

/// Reads the body of an operation.
fn read<T: serde::de::DeserializeOwned>(body: Value) -> Result<T, ApiError> {
    serde_json::from_value(body).map_err(|cause| invalid(format!("the body is wrong: {cause}")))
}

/// The group must be the one that there is, by name or by ARN.
fn check_group(
    parts: &Parts,
    name: Option<&str>,
    identifier: Option<&str>,
) -> Result<(), ApiError> {
    let arn = group_arn(parts);
    let given = name.or(identifier).ok_or_else(|| invalid("logGroupName is required"))?;
    if given == GROUP || given == arn || given.strip_suffix(":*") == Some(&arn) {
        return Ok(());
    }
    let message = "The specified log group does not exist.";
    Err(ApiError::new(StatusCode::BAD_REQUEST, "ResourceNotFoundException", message))
}

fn group_arn(parts: &Parts) -> String {
    parts.core.site().arn("logs", &format!("log-group:{GROUP}"))
}

/// The ARN of stream `name`.
fn stream_arn(parts: &Parts, name: &str) -> String {
    format!("{}:log-stream:{name}", group_arn(parts))
}
