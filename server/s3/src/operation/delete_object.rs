//! DeleteObject.

use readvault_ops::object::find::Name;
use s3s::{
    S3Request, S3Response,
    dto::{DeleteObjectInput as Input, DeleteObjectOutput as Output},
};

use crate::{
    api::Api,
    conditions::etag_is,
    fault::Result,
    refuse::{features, other_owner},
};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit =
        api.permit(&request, "s3:DeleteObject", &request.input.bucket, Some(&request.input.key))?;
    let input = request.input;
    features(&[
        (input.if_match_last_modified_time.is_some(), "x-amz-if-match-last-modified-time"),
        (input.if_match_size.is_some(), "x-amz-if-match-size"),
    ])?;
    let name =
        Name { bucket: &input.bucket, key: &input.key, version: input.version_id.as_deref() };
    api.vault.objects.delete(&permit, &name, etag_is(input.if_match)).await?;
    Ok(S3Response::with_status(Output::default(), http::StatusCode::NO_CONTENT))
}
