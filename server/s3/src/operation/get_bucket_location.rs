//! GetBucketLocation: empty for us-east-1, as S3 answers it.

use s3s::{
    S3Request, S3Response,
    dto::{
        BucketLocationConstraint, GetBucketLocationInput as Input,
        GetBucketLocationOutput as Output,
    },
};

use crate::{api::Api, fault::Result, refuse::other_owner};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit = api.permit(&request, "s3:GetBucketLocation", &request.input.bucket, None)?;
    let input = request.input;
    api.vault.buckets.head(&permit, &input.bucket).await?;
    let region = api.site.region.clone();
    let location_constraint =
        (region != "us-east-1").then(|| BucketLocationConstraint::from(region));
    Ok(S3Response::new(Output { location_constraint }))
}
