//! PutBucketAcl: takes the ACL that every bucket has.

use s3s::{
    S3Request, S3Response,
    dto::{PutBucketAclInput as Input, PutBucketAclOutput as Output},
};

use crate::{
    acl::only_owner,
    api::Api,
    fault::Result,
    refuse::{bucket_acl, other_owner},
};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit = api.permit(&request, "s3:PutBucketAcl", &request.input.bucket, None)?;
    let input = request.input;
    let grants = [
        input.grant_full_control.as_deref(),
        input.grant_read.as_deref(),
        input.grant_read_acp.as_deref(),
        input.grant_write.as_deref(),
        input.grant_write_acp.as_deref(),
    ];
    bucket_acl(input.acl.as_ref(), &grants)?;
    only_owner(input.access_control_policy.as_ref(), &api.site.account)?;
    api.vault.buckets.head(&permit, &input.bucket).await?;
    Ok(S3Response::new(Output::default()))
}
