//! GetBucketEncryption: everything is encrypted, always.

use s3s::{
    S3Request, S3Response,
    dto::{
        GetBucketEncryptionInput as Input, GetBucketEncryptionOutput as Output,
        ServerSideEncryption, ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration,
        ServerSideEncryptionRule,
    },
};

use crate::{api::Api, fault::Result, refuse::other_owner};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit =
        api.permit(&request, "s3:GetEncryptionConfiguration", &request.input.bucket, None)?;
    let input = request.input;
    api.vault.buckets.head(&permit, &input.bucket).await?;
    let by_default = ServerSideEncryptionByDefault {
        kms_master_key_id: None,
        sse_algorithm: ServerSideEncryption::from_static(ServerSideEncryption::AES256),
    };
    let rule = ServerSideEncryptionRule {
        apply_server_side_encryption_by_default: Some(by_default),
        bucket_key_enabled: Some(false),
        ..Default::default()
    };
    let configuration = ServerSideEncryptionConfiguration { rules: vec![rule] };
    Ok(S3Response::new(Output { server_side_encryption_configuration: Some(configuration) }))
}
