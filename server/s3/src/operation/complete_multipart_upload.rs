//! CompleteMultipartUpload.

use readvault_ops::{
    Fault,
    multipart::{UploadName, complete::Complete, part_list::NamedPart},
};
use s3s::{
    S3Request, S3Response,
    dto::{CompleteMultipartUploadInput as Input, CompleteMultipartUploadOutput as Output},
};

use crate::{
    api::Api,
    checksums::{checksums_of, of_object, set_checksums},
    conditions::{etag, write},
    fault::Result,
    refuse::{encryption, other_owner, sse},
};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit =
        api.permit(&request, "s3:PutObject", &request.input.bucket, Some(&request.input.key))?;
    let input = request.input;
    let mut input = input;
    encryption(None, None, &[input.sse_customer_algorithm.as_deref()])?;
    let mut parts = Vec::new();
    for part in input.multipart_upload.take().and_then(|list| list.parts).unwrap_or_default() {
        let number = part.part_number.and_then(|number| u32::try_from(number).ok());
        parts.push(NamedPart {
            number: number.ok_or_else(|| Fault::invalid("a part has no number"))?,
            checksums: checksums_of!(part)?,
            etag: part.e_tag.map(|tag| tag.into_value()),
        });
    }
    let complete = Complete {
        parts,
        conditions: write(input.if_match.take(), input.if_none_match.take())?,
        checksums: checksums_of!(input)?,
        length: input.mpu_object_size.and_then(|bytes| u64::try_from(bytes).ok()),
    };
    let name = UploadName { bucket: &input.bucket, key: &input.key, id: &input.upload_id };
    let answer = api.vault.multiparts.complete(&permit, &name, complete).await?;
    let mut output = Output {
        location: Some(format!("/{}/{}", input.bucket, input.key)),
        e_tag: etag(answer.etag),
        server_side_encryption: sse(),
        ..Output::default()
    };
    let (texts, kind) = of_object(&answer.checksums);
    set_checksums!(output, texts);
    output.checksum_type = kind;
    output.bucket = Some(input.bucket);
    output.key = Some(input.key);
    Ok(S3Response::new(output))
}
