//! From a request to its handler: gate first, then the service of the signature's scope, then
//! method and raw path. Every operation is served on every host (docs/omics-compat.md).

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderName, HeaderValue},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use readvault_ops::{
    authorize::Authorizer, core::Core, identity::Identity, jobs::Jobs, record::RequestRecord,
};
use tower::ServiceExt;

use crate::{
    error::{ApiError, ErrorShape},
    gate::{Service, Signed, gate},
    json::PageTokens,
    logs, storage, sts, workflow,
};

/// Header of the request's id in these APIs.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// What the handlers stand on. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Rows, ids and the vault.
    pub core: Core,
    /// Credentials and roles.
    pub identity: Identity,
    /// Judges what a caller asks to do.
    pub authorizer: Authorizer,
    /// Takes work that outlives the request.
    pub jobs: Jobs,
    /// Makes and reads the tokens of lists.
    pub(crate) tokens: PageTokens,
}

impl Parts {
    /// The parts over `core`.
    #[must_use]
    pub fn new(core: Core, identity: Identity, authorizer: Authorizer, jobs: Jobs) -> Self {
        let tokens = PageTokens::new(core.clone());
        Self { core, identity, authorizer, jobs, tokens }
    }
}

/// The HealthOmics, STS and CloudWatch Logs APIs as one service, gate included.
///
/// Requests need no particular host. Every answer carries `x-amzn-RequestId`; when an outer layer
/// put an
/// `Arc<RequestRecord>` into the extensions, its id is used and the record is filled.
pub fn router(parts: Parts) -> Router {
    let omics = Router::new().merge(storage::routes()).merge(workflow::routes());
    let services = Services {
        omics: finish(omics, &parts),
        sts: finish(sts::routes(), &parts),
        logs: finish(logs::routes(), &parts),
    };
    Router::new()
        .fallback(choose)
        .with_state(services)
        .layer(from_fn_with_state(parts.clone(), gate))
        .layer(from_fn_with_state(parts, request_id))
}

/// One router a service: their paths overlap at `/`.
#[derive(Clone)]
struct Services {
    omics: Router,
    sts: Router,
    logs: Router,
}

fn finish(routes: Router<Parts>, parts: &Parts) -> Router {
    routes
        .fallback(unknown_operation)
        .method_not_allowed_fallback(unknown_operation)
        .with_state(parts.clone())
}

async fn choose(State(services): State<Services>, request: Request) -> Response {
    let service = request.extensions().get::<Signed>().map(|signed| signed.service);
    let router = match service {
        Some(Service::Omics) => services.omics,
        Some(Service::Sts) => services.sts,
        Some(Service::Logs) => services.logs,
        None => return ApiError::unauthenticated().into_response(),
    };
    router.oneshot(request).await.into_response()
}

async fn unknown_operation(request: Request) -> Response {
    let shape = request
        .extensions()
        .get::<Signed>()
        .map_or(ErrorShape::Json, |signed| signed.service.error_shape());
    storage::refused_family(request.uri().path())
        .unwrap_or_else(ApiError::unknown_operation)
        .respond(shape)
}

/// Gives every answer its request id, and the record its status and error.
async fn request_id(State(parts): State<Parts>, mut request: Request, next: Next) -> Response {
    let record = match request.extensions().get::<Arc<RequestRecord>>() {
        Some(record) => record.clone(),
        None => {
            let id = parts.core.uuid().to_string();
            let record = Arc::new(RequestRecord::new(id, parts.core.now_ms()));
            request.extensions_mut().insert(record.clone());
            record
        }
    };
    let mut response: Response<Body> = next.run(request).await;
    if let Ok(id) = HeaderValue::from_str(&record.id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let error = response.extensions().get::<ApiError>().map(|error| error.code.to_owned());
    record.note(|facts| {
        facts.status = response.status().as_u16();
        facts.error = error;
    });
    response
}
