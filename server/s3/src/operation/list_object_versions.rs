//! ListObjectVersions: every object is its one version, `null`.

use readvault_ops::object::list::{ListObjects, Start};
use s3s::{
    S3Request, S3Response,
    dto::{
        ListObjectVersionsInput as Input, ListObjectVersionsOutput as Output, ObjectVersion,
        ObjectVersionStorageClass,
    },
};

use crate::{
    api::Api,
    conditions::{etag, time},
    fault::Result,
    list::{Encoding, checksum, limit, owner, parted, prefixes},
    refuse::other_owner,
};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit = api.permit(&request, "s3:ListBucketVersions", &request.input.bucket, None)?;
    let input = request.input;
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let limit = limit(input.max_keys)?;
    let marker = input.key_marker.clone().filter(|marker| !marker.is_empty());
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
    let standard = ObjectVersionStorageClass::STANDARD;
    let versions = objects.into_iter().map(|listed| {
        let (checksum_algorithm, checksum_type) = checksum(&listed);
        ObjectVersion {
            key: Some(encoding.text(listed.key)),
            version_id: Some("null".into()),
            is_latest: Some(true),
            e_tag: etag(listed.etag),
            size: i64::try_from(listed.length).ok(),
            last_modified: time(listed.modified_ms),
            storage_class: Some(ObjectVersionStorageClass::from_static(standard)),
            owner: Some(owner.clone()),
            checksum_algorithm,
            checksum_type,
            ..Default::default()
        }
    });
    Ok(S3Response::new(Output {
        versions: Some(versions.collect()),
        common_prefixes: prefixes(groups, encoding),
        is_truncated: Some(truncated),
        next_key_marker: last.filter(|_| truncated).map(|last| encoding.text(last)),
        next_version_id_marker: truncated.then(|| "null".into()),
        name: Some(input.bucket),
        prefix: Some(encoding.text(list.prefix)),
        key_marker: Some(encoding.text(input.key_marker.unwrap_or_default())),
        version_id_marker: input.version_id_marker,
        delimiter: delimiter.map(|delimiter| encoding.text(delimiter)),
        max_keys: Some(input.max_keys.unwrap_or(1000)),
        encoding_type: input.encoding_type,
        ..Output::default()
    }))
}
