//! HeadBucket: tells the region in its header.

use s3s::{
    S3Request, S3Response,
    dto::{HeadBucketInput as Input, HeadBucketOutput as Output},
};

use crate::{api::Api, fault::Result, refuse::other_owner};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit = api.permit(&request, "s3:ListBucket", &request.input.bucket, None)?;
    let input = request.input;
    api.vault.buckets.head(&permit, &input.bucket).await?;
    let output = Output { bucket_region: Some(api.site.region.clone()), ..Output::default() };
    Ok(S3Response::new(output))
}
