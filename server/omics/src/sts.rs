//! STS: GetCallerIdentity (query protocol, XML).

use axum::{
    Router,
    body::to_bytes,
    extract::{Request, State},
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use readvault_ops::{
    identity::{Caller, Principal},
    record::RequestRecord,
};

use crate::{
    Parts,
    error::{ApiError, ErrorShape},
    gate::Signed,
    json::query_pairs,
};

/// Bytes of a form at most.
const FORM_BYTES_MAX: usize = 64 << 10;

pub(crate) fn routes() -> Router<Parts> {
    Router::new().route("/", get(serve).post(serve))
}

async fn serve(State(parts): State<Parts>, request: Request) -> Response {
    match answer(&parts, request).await {
        Ok(text) => ([(header::CONTENT_TYPE, "text/xml")], text).into_response(),
        Err(error) => error.respond(ErrorShape::Xml),
    }
}

async fn answer(parts: &Parts, request: Request) -> Result<String, ApiError> {
    let caller = request.extensions().get::<Signed>().map(|signed| signed.caller.clone());
    let caller = caller.ok_or_else(ApiError::unauthenticated)?;
    let record = request.extensions().get::<std::sync::Arc<RequestRecord>>().cloned();
    let mut pairs = query_pairs(request.uri().query().unwrap_or_default())?;
    let body = to_bytes(request.into_body(), FORM_BYTES_MAX)
        .await
        .map_err(|_| ApiError::validation("the form is above 64 KiB"))?;
    let form =
        std::str::from_utf8(&body).map_err(|_| ApiError::validation("the form is not UTF-8"))?;
    pairs.extend(query_pairs(&form.replace('+', "%20"))?);
    let action = pairs.iter().find(|(name, _)| name == "Action").map(|(_, value)| value.as_str());
    if let Some(record) = &record {
        record.note(|facts| {
            facts.api = "sts";
            facts.operation = action.unwrap_or_default().chars().take(64).collect();
            facts.caller = caller.arn(parts.core.site());
        });
    }
    let id = record.map(|record| record.id.clone()).unwrap_or_default();
    match action {
        Some("GetCallerIdentity") => Ok(identity(parts, &caller, &id)),
        Some(_) => Err(ApiError::new(
            http::StatusCode::BAD_REQUEST,
            "InvalidAction",
            "this vault serves GetCallerIdentity of STS only",
        )),
        None => Err(ApiError::new(
            http::StatusCode::BAD_REQUEST,
            "MissingAction",
            "the request names no Action",
        )),
    }
}

fn identity(parts: &Parts, caller: &Caller, request_id: &str) -> String {
    let site = parts.core.site();
    let user = match &caller.principal {
        Principal::Root | Principal::Anonymous => site.account.clone(),
        Principal::Role { name, session } => format!("{name}:{session}"),
    };
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <GetCallerIdentityResult><Arn>{}</Arn><UserId>{}</UserId><Account>{}</Account>\
         </GetCallerIdentityResult><ResponseMetadata><RequestId>{}</RequestId>\
         </ResponseMetadata></GetCallerIdentityResponse>",
        escape(&caller.arn(site)),
        escape(&user),
        site.account,
        escape(request_id),
    )
}
