//! GetObjectAcl: the owner has full control, and nobody else any.

use readvault_ops::object::{find::Name, get::GetObject};
use s3s::{
    S3Request, S3Response,
    dto::{GetObjectAclInput as Input, GetObjectAclOutput as Output},
};

use crate::{
    acl::{grants, owner},
    api::Api,
    fault::Result,
    refuse::other_owner,
};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit =
        api.permit(&request, "s3:GetObjectAcl", &request.input.bucket, Some(&request.input.key))?;
    let input = request.input;
    let name =
        Name { bucket: &input.bucket, key: &input.key, version: input.version_id.as_deref() };
    api.vault.objects.head(&permit, &name, &GetObject::default()).await?;
    let account = &api.site.account;
    Ok(S3Response::new(Output {
        grants: Some(grants(account)),
        owner: Some(owner(account)),
        ..Output::default()
    }))
}
