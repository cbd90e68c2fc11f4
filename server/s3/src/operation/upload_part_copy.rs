//! UploadPartCopy.

use readvault_ops::{
    Fault,
    multipart::{UploadName, part::PartSource},
};
use s3s::{
    S3Request, S3Response,
    dto::{CopyPartResult, Range, UploadPartCopyInput as Input, UploadPartCopyOutput as Output},
};

use crate::{
    api::{Api, ask},
    checksums::{set_checksums, texts},
    conditions::{etag, read, source, time},
    fault::Result,
    refuse::{encryption, other_owner, sse},
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
            ask("s3:PutObject", &request.input.bucket, Some(&request.input.key)),
        ],
    )?;
    let input = request.input;
    let customer = input.sse_customer_algorithm.as_deref();
    encryption(None, None, &[customer, input.copy_source_sse_customer_algorithm.as_deref()])?;
    let part_source = PartSource {
        name: from,
        range: input.copy_source_range.as_deref().map(range).transpose()?,
        conditions: read(
            input.copy_source_if_match,
            input.copy_source_if_none_match,
            input.copy_source_if_modified_since,
            input.copy_source_if_unmodified_since,
        ),
    };
    let name = UploadName { bucket: &input.bucket, key: &input.key, id: &input.upload_id };
    let number = u32::try_from(input.part_number).unwrap_or(0);
    let part = api.vault.multiparts.copy_part(&permit, &name, number, &part_source).await?;
    let mut result = CopyPartResult {
        e_tag: etag(part.etag),
        last_modified: time(part.modified_ms),
        ..Default::default()
    };
    set_checksums!(result, texts(&part.checksums));
    Ok(S3Response::new(Output {
        copy_part_result: Some(result),
        server_side_encryption: sse(),
        ..Output::default()
    }))
}

/// The range of the source: both ends must be given.
fn range(text: &str) -> Result<std::ops::Range<u64>> {
    match Range::parse(text) {
        Ok(Range::Int { first, last: Some(last) }) if last < u64::MAX => Ok(first..last + 1),
        _ => Err(Fault::invalid("x-amz-copy-source-range has the form bytes=first-last").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_must_be_given() {
        assert_eq!(range("bytes=0-0").unwrap(), 0..1);
        for bad in ["bytes=0-", "bytes=-5", "0-5", "bytes=5-1", ""] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }
}
