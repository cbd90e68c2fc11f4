//! PutObjectAcl: takes the ACL that every object has.

use readvault_ops::object::{find::Name, get::GetObject};
use s3s::{
    S3Request, S3Response,
    dto::{PutObjectAclInput as Input, PutObjectAclOutput as Output},
};

use crate::{
    acl::only_owner,
    api::Api,
    fault::Result,
    refuse::{object_acl, other_owner},
};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit =
        api.permit(&request, "s3:PutObjectAcl", &request.input.bucket, Some(&request.input.key))?;
    let input = request.input;
    let grants = [
        input.grant_full_control.as_deref(),
        input.grant_read.as_deref(),
        input.grant_read_acp.as_deref(),
        input.grant_write.as_deref(),
        input.grant_write_acp.as_deref(),
    ];
    object_acl(input.acl.as_ref(), &grants)?;
    only_owner(input.access_control_policy.as_ref(), &api.site.account)?;
    let name =
        Name { bucket: &input.bucket, key: &input.key, version: input.version_id.as_deref() };
    api.vault.objects.head(&permit, &name, &GetObject::default()).await?;
    Ok(S3Response::new(Output::default()))
}
