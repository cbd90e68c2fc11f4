//! GetObjectAttributes.

use readvault_ops::object::{find::Name, get::GetObject, range::part_count};
use s3s::{
    S3Request, S3Response,
    dto::{
        GetObjectAttributesInput as Input, GetObjectAttributesOutput as Output,
        GetObjectAttributesParts, StorageClass,
    },
};

use crate::{
    api::Api,
    conditions::{etag, time},
    entity::{archived, checksum},
    fault::Result,
    refuse::other_owner,
};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit = api.permit(
        &request,
        "s3:GetObjectAttributes",
        &request.input.bucket,
        Some(&request.input.key),
    )?;
    let input = request.input;
    let name =
        Name { bucket: &input.bucket, key: &input.key, version: input.version_id.as_deref() };
    let head = api.vault.objects.head(&permit, &name, &GetObject::default()).await?;
    let attributes = input.object_attributes.iter().flat_map(|list| list.as_str().split(','));
    let attributes: Vec<&str> = attributes.map(str::trim).collect();
    let asked = |name: &str| attributes.contains(&name);
    let mut output = Output { last_modified: time(head.found.modified_ms), ..Output::default() };
    if asked("ETag") {
        output.e_tag = etag(head.found.etag.as_str());
    }
    if asked("Checksum") {
        output.checksum = checksum(&head);
    }
    if asked("ObjectSize") {
        output.object_size = i64::try_from(head.found.file.length).ok();
    }
    if asked("StorageClass") {
        let standard = || StorageClass::from_static(StorageClass::STANDARD);
        output.storage_class = Some(archived(head.found.read_set).0.unwrap_or_else(standard));
    }
    let parts = part_count(&head.found.parts);
    if asked("ObjectParts") && parts > 0 {
        output.object_parts = Some(GetObjectAttributesParts {
            total_parts_count: i32::try_from(parts).ok(),
            ..Default::default()
        });
    }
    Ok(S3Response::new(output))
}
