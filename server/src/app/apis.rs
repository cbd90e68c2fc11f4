//! Builds the APIs over the ground, and the work that runs beside them.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
};
use http::{Request, StatusCode};
use readvault_ops::{
    Fault, FaultKind,
    bucket::Buckets,
    multipart::Multiparts,
    object::{Objects, Settings, etag::Rule},
    record::RequestRecord,
};
use readvault_s3::{S3Parts, S3Vault};
use tower::{Service, ServiceExt};

use super::{Checkpoints, Ground, gauges::Gauges, open::InspectorProgram, own, work::Work};
use crate::{
    front_door::{
        Broken, Handler, Peer, Standing,
        admission::{Admission, Load, Place},
        api::{Api, choose, scope_service},
    },
    settings::Serve,
};

/// The APIs as one service, and the work beside them.
pub(super) fn compose(
    settings: &Serve,
    (ground, checkpoints): (Ground, Checkpoints),
    inspector: Option<InspectorProgram>,
    gauges: Gauges,
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
    let admission = gauges.admission.clone();
    let own = own::routes(ground.core.clone(), gauges);
    let work = Work::new(settings, (&ground, checkpoints), &objects, inspector);
    let Ground { core, identity, authorizer, jobs } = ground;
    let parts = readvault_omics::Parts::new(core, identity, authorizer, jobs);
    let aws = readvault_omics::router(parts).layer(axum::Extension(work.runs().clone()));
    let handler = tower::service_fn(move |request: Request<Body>| {
        let (s3, own, aws) = (s3.clone(), own.clone(), aws.clone());
        let admission = admission.clone();
        async move {
            let api = choose(request.uri(), request.headers());
            if api == Api::Own {
                return route(own, request).await;
            }
            let standing = request.extensions().get::<Peer>().map(|peer| peer.standing);
            let place = match place(&admission, standing, Load::of(&request)).await {
                Ok(place) => place,
                Err(fault) => return Ok(refuse(api, &request, fault)),
            };
            let mut answer = match api {
                Api::S3 => answered(s3, request).await?,
                Api::Aws => route(aws, request).await?,
                Api::Own | Api::Ga4gh => not_built(),
            };
            answer.extensions_mut().insert(Arc::new(place));
            Ok(answer)
        }
    });
    (Handler::new(handler), work)
}

/// The place of a request, or why it has none.
async fn place(
    admission: &Admission,
    standing: Option<Standing>,
    load: Load,
) -> Result<Place, Fault> {
    if standing == Some(Standing::Spare) {
        let message = "this server has as many connections as it takes; try again";
        return Err(Fault::new(FaultKind::SlowDown, message));
    }
    admission.enter(load).await
}

/// The answer to a request without a place, in the shape of its API.
fn refuse(api: Api, request: &Request<Body>, fault: Fault) -> Response {
    if let Some(record) = request.extensions().get::<Arc<RequestRecord>>() {
        record.note(|facts| facts.error = Some("SlowDown".into()));
    }
    match api {
        Api::Aws => {
            let scope = scope_service(request.uri(), request.headers());
            readvault_omics::refused(scope, fault)
        }
        Api::S3 | Api::Own | Api::Ga4gh => readvault_s3::refused(fault).map(Body::new),
    }
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
