//! GetBucketOwnershipControls: the owner of the bucket owns all of it.

use s3s::{
    S3Request, S3Response,
    dto::{
        GetBucketOwnershipControlsInput as Input, GetBucketOwnershipControlsOutput as Output,
        ObjectOwnership, OwnershipControls, OwnershipControlsRule,
    },
};

use crate::{api::Api, fault::Result, refuse::other_owner};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit =
        api.permit(&request, "s3:GetBucketOwnershipControls", &request.input.bucket, None)?;
    let input = request.input;
    api.vault.buckets.head(&permit, &input.bucket).await?;
    let ownership = ObjectOwnership::from_static(ObjectOwnership::BUCKET_OWNER_ENFORCED);
    let rules = vec![OwnershipControlsRule { object_ownership: ownership }];
    Ok(S3Response::new(Output { ownership_controls: Some(OwnershipControls { rules }) }))
}
