//! GetObjectTagging.

use readvault_ops::object::find::Name;
use s3s::{
    S3Request, S3Response,
    dto::{GetObjectTaggingInput as Input, GetObjectTaggingOutput as Output},
};

use crate::{api::Api, fault::Result, refuse::other_owner, write::to_tag_set};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit = api.permit(
        &request,
        "s3:GetObjectTagging",
        &request.input.bucket,
        Some(&request.input.key),
    )?;
    let input = request.input;
    let name =
        Name { bucket: &input.bucket, key: &input.key, version: input.version_id.as_deref() };
    let tags = api.vault.objects.tags(&permit, &name).await?;
    Ok(S3Response::new(Output { tag_set: to_tag_set(tags), version_id: None }))
}
