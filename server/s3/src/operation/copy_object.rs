//! CopyObject.

use readvault_ops::object::copy::{CopyObject, Directive};
use s3s::{
    S3Request, S3Response,
    dto::{CopyObjectInput as Input, CopyObjectOutput as Output, CopyObjectResult},
};

use crate::{
    api::{Api, ask},
    checksums::{algorithm, of_object, set_checksums},
    conditions::{etag, read, source, time, write},
    fault::Result,
    refuse::{encryption, features, other_owner, sse},
    write::attributes_of,
};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    other_owner(request.input.expected_source_bucket_owner.as_deref(), &api.site.account)?;
    let copy_source = request.input.copy_source.clone();
    let from = source(&copy_source)?;
    let permit = api.permit_all(
        &request,
        &[
            ask("s3:GetObject", from.bucket, Some(from.key)),
            ask("s3:GetObjectTagging", from.bucket, Some(from.key)),
            ask("s3:PutObject", &request.input.bucket, Some(&request.input.key)),
        ],
    )?;
    let mut input = request.input;
    encryption(None, None, &[input.copy_source_sse_customer_algorithm.as_deref()])?;
    features(&[(input.annotation_directive.is_some(), "annotations of objects")])?;
    let attributes = attributes_of!(input);
    let replaces = |text: Option<&str>| match text {
        Some("REPLACE") => Directive::Replace,
        _ => Directive::Copy,
    };
    let copy = CopyObject {
        target: readvault_ops::object::put::PutObject {
            bucket: input.bucket,
            key: input.key,
            attributes,
            conditions: write(input.if_match, input.if_none_match)?,
        },
        conditions: read(
            input.copy_source_if_match,
            input.copy_source_if_none_match,
            input.copy_source_if_modified_since,
            input.copy_source_if_unmodified_since,
        ),
        metadata: replaces(input.metadata_directive.as_ref().map(|d| d.as_str())),
        tags: replaces(input.tagging_directive.as_ref().map(|d| d.as_str())),
        algorithm: algorithm(input.checksum_algorithm.as_ref())?,
    };
    let answer = api.vault.objects.copy(&permit, &from, copy).await?;
    let mut result = CopyObjectResult {
        e_tag: etag(answer.etag),
        last_modified: time(answer.modified_ms),
        ..Default::default()
    };
    let (texts, kind) = of_object(&answer.checksums);
    set_checksums!(result, texts);
    result.checksum_type = kind;
    Ok(S3Response::new(Output {
        copy_object_result: Some(result),
        server_side_encryption: sse(),
        ..Output::default()
    }))
}
