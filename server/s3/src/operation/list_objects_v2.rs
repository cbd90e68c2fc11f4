//! ListObjectsV2.

use readvault_ops::object::list::{Cursor, ListObjects, Start};
use s3s::{
    S3Request, S3Response,
    dto::{ListObjectsV2Input as Input, ListObjectsV2Output as Output},
};

use crate::{
    api::Api,
    fault::Result,
    list::{Encoding, count, limit, object, owner, parted, prefixes},
    refuse::other_owner,
};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit = api.permit(&request, "s3:ListBucket", &request.input.bucket, None)?;
    let input = request.input;
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let limit = limit(input.max_keys)?;
    let delimiter = input.delimiter.clone().filter(|delimiter| !delimiter.is_empty());
    let start = match (&input.continuation_token, &input.start_after) {
        (Some(token), _) => Start::At(Cursor::parse(token)?),
        (None, Some(after)) if !after.is_empty() => Start::After(after.clone()),
        (None, _) => Start::First,
    };
    let list = ListObjects {
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: delimiter.clone(),
        start,
        limit,
    };
    let listing = api.vault.objects.list(&permit, &input.bucket, &list).await?;
    let next = listing.next.as_ref().map(Cursor::text);
    let entries = listing.entries.len();
    let (objects, groups) = parted(listing);
    let owner = input.fetch_owner.unwrap_or(false).then(|| owner(&api.site.account));
    let contents = objects.into_iter().map(|listed| object(listed, encoding, owner.clone()));
    Ok(S3Response::new(Output {
        contents: Some(contents.collect()),
        common_prefixes: prefixes(groups, encoding),
        is_truncated: Some(next.is_some()),
        next_continuation_token: next,
        continuation_token: input.continuation_token,
        key_count: count(entries),
        name: Some(input.bucket),
        prefix: Some(encoding.text(list.prefix)),
        start_after: input.start_after.map(|after| encoding.text(after)),
        delimiter: delimiter.map(|delimiter| encoding.text(delimiter)),
        max_keys: Some(input.max_keys.unwrap_or(1000)),
        encoding_type: input.encoding_type,
        ..Output::default()
    }))
}
