//! DeleteObjectTagging.

use readvault_ops::object::find::Name;
use s3s::{
    S3Request, S3Response,
    dto::{DeleteObjectTaggingInput as Input, DeleteObjectTaggingOutput as Output},
};

use crate::{api::Api, fault::Result, refuse::other_owner};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit = api.permit(
        &request,
        "s3:DeleteObjectTagging",
        &request.input.bucket,
        Some(&request.input.key),
    )?;
    let input = request.input;
    let name =
        Name { bucket: &input.bucket, key: &input.key, version: input.version_id.as_deref() };
    api.vault.objects.set_tags(&permit, &name, Vec::new()).await?;
    Ok(S3Response::with_status(Output::default(), http::StatusCode::NO_CONTENT))
}
