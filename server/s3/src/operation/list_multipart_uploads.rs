//! ListMultipartUploads.

use readvault_ops::multipart::list::ListUploads;
use s3s::{
    S3Request, S3Response,
    dto::{
        ChecksumAlgorithm, Initiator, ListMultipartUploadsInput as Input,
        ListMultipartUploadsOutput as Output, MultipartUpload, StorageClass,
    },
};

use crate::{
    api::Api,
    checksums::kind_name,
    conditions::time,
    fault::Result,
    list::{Encoding, limit, owner, prefixes},
    refuse::other_owner,
};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit =
        api.permit(&request, "s3:ListBucketMultipartUploads", &request.input.bucket, None)?;
    let input = request.input;
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let list = ListUploads {
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: some(&input.delimiter),
        key_marker: some(&input.key_marker),
        upload_marker: some(&input.upload_id_marker),
        limit: limit(input.max_uploads)?,
    };
    let page = api.vault.multiparts.list(&permit, &input.bucket, &list).await?;
    let account = &api.site.account;
    let uploads = page.uploads.into_iter().map(|upload| MultipartUpload {
        key: Some(encoding.text(upload.key)),
        upload_id: Some(upload.id),
        initiated: time(upload.created_ms),
        owner: Some(owner(account)),
        initiator: Some(Initiator { display_name: None, id: Some(account.clone()) }),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        checksum_algorithm: upload
            .checksum
            .map(|(algorithm, _)| ChecksumAlgorithm::from_static(algorithm.name())),
        checksum_type: upload.checksum.map(|(_, kind)| kind_name(kind)),
    });
    let (next_key, next_upload) = page.next.unzip();
    Ok(S3Response::new(Output {
        uploads: Some(uploads.collect()),
        common_prefixes: prefixes(page.prefixes, encoding),
        is_truncated: Some(next_key.is_some()),
        next_key_marker: next_key.map(|key| encoding.text(key)),
        next_upload_id_marker: next_upload.filter(|id| !id.is_empty()),
        bucket: Some(input.bucket),
        prefix: Some(encoding.text(list.prefix)),
        delimiter: list.delimiter.map(|delimiter| encoding.text(delimiter)),
        key_marker: Some(encoding.text(input.key_marker.unwrap_or_default())),
        upload_id_marker: input.upload_id_marker,
        max_uploads: Some(input.max_uploads.unwrap_or(1000)),
        encoding_type: input.encoding_type,
        ..Output::default()
    }))
}
