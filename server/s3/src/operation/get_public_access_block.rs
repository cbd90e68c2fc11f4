//! GetPublicAccessBlock: nothing is ever public.

use s3s::{
    S3Request, S3Response,
    dto::{
        GetPublicAccessBlockInput as Input, GetPublicAccessBlockOutput as Output,
        PublicAccessBlockConfiguration,
    },
};

use crate::{api::Api, fault::Result, refuse::other_owner};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit =
        api.permit(&request, "s3:GetBucketPublicAccessBlock", &request.input.bucket, None)?;
    let input = request.input;
    api.vault.buckets.head(&permit, &input.bucket).await?;
    let configuration = PublicAccessBlockConfiguration {
        block_public_acls: Some(true),
        block_public_policy: Some(true),
        ignore_public_acls: Some(true),
        restrict_public_buckets: Some(true),
    };
    Ok(S3Response::new(Output { public_access_block_configuration: Some(configuration) }))
}
