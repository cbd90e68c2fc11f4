//! ListBuckets.

use s3s::{
    S3Request, S3Response,
    dto::{Bucket, ListBucketsInput as Input, ListBucketsOutput as Output},
};

use crate::{
    api::Api,
    conditions::time,
    fault::Result,
    list::{limit, owner},
};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    let permit = api.permit(&request, "s3:ListAllMyBuckets", "", None)?;
    let input = request.input;
    let most = match input.max_buckets {
        None => 10_000,
        Some(max) => limit(Some(max))?.max(1),
    };
    let prefix = input.prefix.clone().unwrap_or_default();
    let after = input.continuation_token.as_deref();
    let page = api.vault.buckets.list(&permit, &prefix, after, most).await?;
    let buckets = page.buckets.into_iter().map(|bucket| Bucket {
        name: Some(bucket.name),
        creation_date: time(bucket.created_ms),
        bucket_region: input.max_buckets.map(|_| api.site.region.clone()),
        ..Bucket::default()
    });
    Ok(S3Response::new(Output {
        buckets: Some(buckets.collect()),
        continuation_token: page.next,
        owner: Some(owner(&api.site.account)),
        prefix: input.prefix,
    }))
}
