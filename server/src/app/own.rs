//! `/_rv/…`: health, readiness, metrics.

use std::sync::Arc;

use axum::{Router, http::StatusCode, routing::get};
use readvault_ops::core::Core;

use super::gauges::Gauges;

/// The paths below `/_rv`.
pub(super) fn routes(core: Core, gauges: Gauges) -> Router {
    let gauges = Arc::new(gauges);
    Router::new()
        .route("/_rv/health", get(|| async { "ok\n" }))
        .route("/_rv/ready", get(move || ready(core.clone())))
        .route("/_rv/metrics", get(move || async move { gauges.render() }))
        .fallback(|| async { (StatusCode::NOT_FOUND, "no such path below /_rv\n") })
}

/// Whether the catalog answers.
async fn ready(core: Core) -> (StatusCode, &'static str) {
    let row = readvault_ops::bucket::row("ready");
    match core.catalog().read(&[row]).await {
        Ok(_) => (StatusCode::OK, "ready\n"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the catalog does not answer\n"),
    }
}
