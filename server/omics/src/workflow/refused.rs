//! Operations that are known and not built: each says so, and what to do instead.

use axum::{Router, extract::State, response::Response, routing::any};

use crate::{Parts, error::ApiError, json::Call};

pub(super) fn routes() -> Router<Parts> {
    let refuse = |message: &'static str| {
        any(move |call: Call, State(parts): State<Parts>| async move {
            call.permit(&parts, "omics:Unsupported", "*")?;
            Err::<Response, ApiError>(ApiError::not_supported(message))
        })
    };
    let group = "run groups are not built yet: start runs without runGroupId";
    let cache = "run caches are not built yet: start runs without cacheId";
    let batch = "run batches are not built yet: start each run by StartRun";
    let configuration = "configurations are not built yet: runs have no network";
    Router::new()
        .route("/runGroup", refuse(group))
        .route("/runGroup/{id}", refuse(group))
        .route("/runCache", refuse(cache))
        .route("/runCache/{id}", refuse(cache))
        .route("/runBatch", refuse(batch))
        .route("/runBatch/{id}", refuse(batch))
        .route("/runBatch/{id}/run", refuse(batch))
        .route("/configuration", refuse(configuration))
        .route("/configuration/{name}", refuse(configuration))
}
