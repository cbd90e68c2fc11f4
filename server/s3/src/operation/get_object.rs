//! GetObject.

use http::{HeaderMap, HeaderValue, header};
use readvault_ops::{
    Fault, FaultKind,
    authorize::Permit,
    object::{find::Name, get::GetObject},
};
use s3s::{
    S3Request, S3Response,
    dto::{GetObjectInput as Input, GetObjectOutput as Output},
};

use crate::{
    api::Api,
    body::outgoing,
    conditions::read,
    entity::{entity, wanted},
    fault::{Refusal, Result},
    refuse::{encryption, other_owner},
};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit =
        api.permit(&request, "s3:GetObject", &request.input.bucket, Some(&request.input.key))?;
    let input = request.input;
    encryption(None, None, &[input.sse_customer_algorithm.as_deref()])?;
    let get = GetObject {
        wanted: wanted(input.range, input.part_number)?,
        conditions: read(
            input.if_match.clone(),
            input.if_none_match.clone(),
            input.if_modified_since.clone(),
            input.if_unmodified_since.clone(),
        ),
    };
    let name =
        Name { bucket: &input.bucket, key: &input.key, version: input.version_id.as_deref() };
    let (head, download) = match api.vault.objects.get(&permit, &name, &get).await {
        Ok(answer) => answer,
        Err(fault) => return Err(unsatisfied(api, &permit, &name, fault).await),
    };
    let mut output = Output::default();
    entity!(output, input, head);
    output.body = Some(outgoing(download, head.range.end - head.range.start));
    let mut response = S3Response::new(output);
    if head.partial {
        response.status = Some(http::StatusCode::PARTIAL_CONTENT);
    }
    Ok(response)
}

/// The refusal of a GET or HEAD, with the headers that tell the client what there is.
pub(crate) async fn unsatisfied(
    api: &Api,
    permit: &Permit,
    name: &Name<'_>,
    fault: Fault,
) -> Refusal {
    let kind = fault.kind;
    let mut refusal = Refusal::from(fault);
    if !matches!(kind, FaultKind::InvalidRange | FaultKind::NotModified) {
        return refusal;
    }
    let Ok(head) = api.vault.objects.head(permit, name, &GetObject::default()).await else {
        return refusal;
    };
    let mut headers = HeaderMap::new();
    let mut set = |name, text: String| {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    };
    if kind == FaultKind::InvalidRange {
        set(header::CONTENT_RANGE, format!("bytes */{}", head.found.file.length));
    } else {
        set(header::ETAG, format!("\"{}\"", head.found.etag));
    }
    refusal.0.set_headers(headers);
    refusal
}
