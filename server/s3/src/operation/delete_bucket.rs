//! DeleteBucket.

use s3s::{
    S3Request, S3Response,
    dto::{DeleteBucketInput as Input, DeleteBucketOutput as Output},
};

use crate::{api::Api, fault::Result, refuse::other_owner};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit = api.permit(&request, "s3:DeleteBucket", &request.input.bucket, None)?;
    let input = request.input;
    api.vault.buckets.delete(&permit, &input.bucket).await?;
    Ok(S3Response::with_status(Output::default(), http::StatusCode::NO_CONTENT))
}
