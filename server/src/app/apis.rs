//! Builds the APIs over the ground, and the work that runs beside them.

use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
};
use http::{Request, StatusCode};
use metrics_exporter_prometheus::PrometheusHandle;
use readvault_ops::{
    bucket::Buckets,
    multipart::Multiparts,
    object::{Objects, Settings, etag::Rule},
};
use readvault_s3::{S3Parts, S3Vault};
use tower::{Service, ServiceExt};

use super::{Checkpoints, Ground, open::InspectorProgram, own, work::Work};
use crate::{
    front_door::{
        Broken, Handler,
        api::{Api, choose},
    },
    settings::Serve,
};

/// The APIs as one service, and the work beside them.
pub(super) fn compose(
    settings: &Serve,
    (ground, checkpoints): (Ground, Checkpoints),
    inspector: Option<InspectorProgram>,
    metrics: PrometheusHandle,
) -> (Handler, Work) {
    let buckets = Buckets::new(ground.core.clone());
    let etag = if settings.etag == "md5" { Rule::Md5 } else { Rule::Fast };
    let objects = Objects::new(buckets.clone(), Settings { etag });
    let multiparts = Multiparts::new(objects.clone());
    let s3 = readvault_s3::service(S3Parts {
        vault: S3Vault { buckets, objects: objects.clone(), multiparts },
        identity: ground.identity.clone(),
        authorizer: ground.authorizer.clone(),
        hosts: settings.s3_domains.clone(),
    });
    let own = own::routes(ground.core.clone(), metrics);
    let work = Work::new(settings, (&ground, checkpoints), &objects, inspector);
    let Ground { core, identity, authorizer, jobs } = ground;
    let parts = readvault_omics::Parts::new(core, identity, authorizer, jobs);
    let aws = readvault_omics::router(parts).layer(axum::Extension(work.runs().clone()));
    let handler = tower::service_fn(move |request: Request<Body>| {
        let (s3, own, aws) = (s3.clone(), own.clone(), aws.clone());
        async move {
            match choose(request.uri(), request.headers()) {
                Api::S3 => answered(s3, request).await,
                Api::Aws => route(aws, request).await,
                Api::Own => route(own, request).await,
                Api::Ga4gh => Ok(not_built()),
            }
        }
    });
    (Handler::new(handler), work)
}

async fn route(router: Router, request: Request<Body>) -> Result<Response, Broken> {
    match router.oneshot(request).await {
        Ok(response) => Ok(response),
        Err(never) => match never {},
    }
}

async fn answered<S, B>(mut service: S, request: Request<Body>) -> Result<Response, Broken>
where
    S: Service<Request<Body>, Response = http::Response<B>>,
    S::Error: std::error::Error + Send + Sync + 'static,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    match service.call(request).await {
        Ok(response) => Ok(response.map(Body::new)),
        Err(cause) => Err(Broken(Box::new(cause))),
    }
}

fn not_built() -> Response {
    let text = "the GA4GH APIs (htsget, DRS, refget, WES, TES) are not built yet\n";
    (StatusCode::NOT_IMPLEMENTED, text).into_response()
}
