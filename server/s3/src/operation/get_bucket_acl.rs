//! GetBucketAcl: the owner has full control, and nobody else any.

use s3s::{
    S3Request, S3Response,
    dto::{GetBucketAclInput as Input, GetBucketAclOutput as Output},
};

use crate::{
    acl::{grants, owner},
    api::Api,
    fault::Result,
    refuse::other_owner,
};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit = api.permit(&request, "s3:GetBucketAcl", &request.input.bucket, None)?;
    let input = request.input;
    api.vault.buckets.head(&permit, &input.bucket).await?;
    let account = &api.site.account;
    Ok(S3Response::new(Output { grants: Some(grants(account)), owner: Some(owner(account)) }))
}
