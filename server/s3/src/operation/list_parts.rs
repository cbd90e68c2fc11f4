//! ListParts.

use readvault_ops::multipart::UploadName;
use s3s::{
    S3Request, S3Response,
    dto::{
        ChecksumAlgorithm, Initiator, ListPartsInput as Input, ListPartsOutput as Output, Part,
        StorageClass,
    },
};

use crate::{
    api::Api,
    checksums::{kind_name, set_checksums, texts},
    conditions::{etag, time},
    fault::Result,
    list::{limit, owner},
    refuse::other_owner,
};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit = api.permit(
        &request,
        "s3:ListMultipartUploadParts",
        &request.input.bucket,
        Some(&request.input.key),
    )?;
    let input = request.input;
    let most = limit(input.max_parts)?;
    let after = u32::try_from(input.part_number_marker.unwrap_or(0)).unwrap_or(0);
    let name = UploadName { bucket: &input.bucket, key: &input.key, id: &input.upload_id };
    let page = api.vault.multiparts.list_parts(&permit, &name, after, most).await?;
    let number = |number: u32| i32::try_from(number).ok();
    let parts = page.parts.into_iter().map(|found| {
        let mut part = Part {
            part_number: number(found.number),
            e_tag: etag(found.etag),
            size: i64::try_from(found.file.length).ok(),
            last_modified: time(found.modified_ms),
            ..Default::default()
        };
        set_checksums!(part, texts(&found.checksums));
        part
    });
    let checksum = page.upload.checksum;
    Ok(S3Response::new(Output {
        parts: Some(parts.collect()),
        is_truncated: Some(page.next.is_some()),
        next_part_number_marker: page.next.and_then(number),
        part_number_marker: number(after),
        max_parts: Some(input.max_parts.unwrap_or(1000)),
        checksum_algorithm: checksum.map(|(algo, _)| ChecksumAlgorithm::from_static(algo.name())),
        checksum_type: checksum.map(|(_, kind)| kind_name(kind)),
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        owner: Some(owner(&api.site.account)),
        initiator: Some(Initiator { display_name: None, id: Some(api.site.account.clone()) }),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        ..Output::default()
    }))
}
