//! PutObjectTagging.

use readvault_ops::object::find::Name;
use s3s::{
    S3Request, S3Response,
    dto::{PutObjectTaggingInput as Input, PutObjectTaggingOutput as Output},
};

use crate::{api::Api, fault::Result, refuse::other_owner, write::tag_set};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit = api.permit(
        &request,
        "s3:PutObjectTagging",
        &request.input.bucket,
        Some(&request.input.key),
    )?;
    let input = request.input;
    let name =
        Name { bucket: &input.bucket, key: &input.key, version: input.version_id.as_deref() };
    let tags = tag_set(input.tagging.tag_set);
    api.vault.objects.set_tags(&permit, &name, tags).await?;
    Ok(S3Response::new(Output::default()))
}
