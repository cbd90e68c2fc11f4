//! GetBucketTagging.

use s3s::{
    S3Request, S3Response,
    dto::{GetBucketTaggingInput as Input, GetBucketTaggingOutput as Output},
};

use crate::{api::Api, fault::Result, refuse::other_owner, write::to_tag_set};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit = api.permit(&request, "s3:GetBucketTagging", &request.input.bucket, None)?;
    let input = request.input;
    let tags = api.vault.buckets.tags(&permit, &input.bucket).await?;
    Ok(S3Response::new(Output { tag_set: to_tag_set(tags) }))
}
