//! ListObjects (version 1).

use readvault_ops::object::list::{ListObjects, Start};
use s3s::{
    S3Request, S3Response,
    dto::{ListObjectsInput as Input, ListObjectsOutput as Output},
};

use crate::{
    api::Api,
    fault::Result,
    list::{Encoding, limit, object, owner, parted, prefixes},
    refuse::other_owner,
};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit = api.permit(&request, "s3:ListBucket", &request.input.bucket, None)?;
    let input = request.input;
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let limit = limit(input.max_keys)?;
    let marker = input.marker.clone().filter(|marker| !marker.is_empty());
    let delimiter = input.delimiter.clone().filter(|delimiter| !delimiter.is_empty());
    let list = ListObjects {
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: delimiter.clone(),
        start: marker.map_or(Start::First, Start::After),
        limit,
    };
    let listing = api.vault.objects.list(&permit, &input.bucket, &list).await?;
    let truncated = listing.next.is_some();
    let last = listing.entries.last().map(|entry| entry.name().to_owned());
    let (objects, groups) = parted(listing);
    let owner = owner(&api.site.account);
    let contents = objects.into_iter().map(|listed| object(listed, encoding, Some(owner.clone())));
    Ok(S3Response::new(Output {
        contents: Some(contents.collect()),
        common_prefixes: prefixes(groups, encoding),
        is_truncated: Some(truncated),
        next_marker: last
            .filter(|_| truncated && delimiter.is_some())
            .map(|last| encoding.text(last)),
        name: Some(input.bucket),
        prefix: Some(encoding.text(list.prefix)),
        marker: Some(encoding.text(input.marker.unwrap_or_default())),
        delimiter: delimiter.map(|delimiter| encoding.text(delimiter)),
        max_keys: Some(input.max_keys.unwrap_or(1000)),
        encoding_type: input.encoding_type,
        ..Output::default()
    }))
}
