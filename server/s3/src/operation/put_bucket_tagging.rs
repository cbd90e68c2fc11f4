//! PutBucketTagging.

use s3s::{
    S3Request, S3Response,
    dto::{PutBucketTaggingInput as Input, PutBucketTaggingOutput as Output},
};

use crate::{api::Api, fault::Result, refuse::other_owner, write::tag_set};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit = api.permit(&request, "s3:PutBucketTagging", &request.input.bucket, None)?;
    let input = request.input;
    let tags = tag_set(input.tagging.tag_set);
    api.vault.buckets.set_tags(&permit, &input.bucket, tags).await?;
    Ok(S3Response::with_status(Output::default(), http::StatusCode::NO_CONTENT))
}
