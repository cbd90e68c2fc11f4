//! CreateBucket. The tag `readvault:dropOf` makes a drop bucket of the sequence store it names.

use readvault_ops::bucket::create::NewBucket;
use s3s::{
    S3ErrorCode, S3Request, S3Response,
    dto::{CreateBucketInput as Input, CreateBucketOutput as Output},
};

use crate::{
    api::Api,
    fault::{Result, refuse},
    refuse::{bucket_acl, features},
    write::tag_set,
};

/// The tag that makes a drop bucket.
const DROP_OF: &str = "readvault:dropOf";

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    let permit = api.permit(&request, "s3:CreateBucket", &request.input.bucket, None)?;
    let input = request.input;
    let grants = [
        input.grant_full_control.as_deref(),
        input.grant_read.as_deref(),
        input.grant_read_acp.as_deref(),
        input.grant_write.as_deref(),
        input.grant_write_acp.as_deref(),
    ];
    bucket_acl(input.acl.as_ref(), &grants)?;
    features(&[(input.object_lock_enabled_for_bucket.unwrap_or(false), "object lock")])?;
    let configuration = input.create_bucket_configuration.unwrap_or_default();
    let elsewhere = configuration
        .location_constraint
        .is_some_and(|place| !place.as_str().is_empty() && place.as_str() != api.site.region);
    if elsewhere {
        return Err(refuse(
            S3ErrorCode::IllegalLocationConstraintException,
            "the location constraint is not the region of this vault",
        ));
    }
    let tags = tag_set(configuration.tags.unwrap_or_default());
    let drop_of = tags.iter().find(|(key, _)| key == DROP_OF).map(|(_, value)| value.clone());
    let location = Some(format!("/{}", input.bucket));
    let new = NewBucket { name: input.bucket, tags, drop_of };
    api.vault.buckets.create(&permit, new).await?;
    Ok(S3Response::new(Output { location, ..Output::default() }))
}
