//! HeadObject.

use readvault_ops::object::{find::Name, get::GetObject};
use s3s::{
    S3Request, S3Response,
    dto::{HeadObjectInput as Input, HeadObjectOutput as Output},
};

use crate::{
    api::Api,
    conditions::read,
    entity::{entity, wanted},
    fault::Result,
    operation::get_object::unsatisfied,
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
    let head = match api.vault.objects.head(&permit, &name, &get).await {
        Ok(head) => head,
        Err(fault) => return Err(unsatisfied(api, &permit, &name, fault).await),
    };
    let mut output = Output::default();
    entity!(output, input, head);
    let mut response = S3Response::new(output);
    if head.partial {
        response.status = Some(http::StatusCode::PARTIAL_CONTENT);
    }
    Ok(response)
}
