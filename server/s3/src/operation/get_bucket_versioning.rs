//! GetBucketVersioning: empty, as buckets were never versioned.

use s3s::{
    S3Request, S3Response,
    dto::{GetBucketVersioningInput as Input, GetBucketVersioningOutput as Output},
};

use crate::{api::Api, fault::Result, refuse::other_owner};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit = api.permit(&request, "s3:GetBucketVersioning", &request.input.bucket, None)?;
    let input = request.input;
    api.vault.buckets.head(&permit, &input.bucket).await?;
    Ok(S3Response::new(Output::default()))
}
