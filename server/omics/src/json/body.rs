//! The JSON body of a request.

use axum::{
    Json,
    body::to_bytes,
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::ApiError;

/// Bytes that are taken from a body: the gate has read it within the limit of its operation
/// already.
const READ_MAX: usize = 256 << 20;

/// The body as a `T`; an absent body counts as `{}`. What does not fit answers
/// `ValidationException` with the field and what it must be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let bytes = to_bytes(request.into_body(), READ_MAX)
            .await
            .map_err(|_| ApiError::validation("the body could not be read"))?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        // serde would take a list for the fields in their order.
        let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
        if first != Some(&b'{') {
            return Err(ApiError::validation("the body must be a JSON object"));
        }
        serde_json::from_slice(text)
            .map(Self)
            .map_err(|cause| ApiError::validation(format!("the body is not acceptable: {cause}")))
    }
}

/// An answer of 200 with `body`, from which members that are null are left out: clients test
/// presence.
pub(crate) fn answer(mut body: Value) -> Response {
    leave_out_nulls(&mut body);
    Json(body).into_response()
}

fn leave_out_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(leave_out_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(leave_out_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
