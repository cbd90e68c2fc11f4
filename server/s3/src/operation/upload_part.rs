//! UploadPart.

use readvault_ops::multipart::UploadName;
use s3s::{
    S3Request, S3Response,
    dto::{UploadPartInput as Input, UploadPartOutput as Output},
};

use crate::{
    api::Api,
    body::incoming,
    checksums::{checksums_of, declared, set_checksums, texts},
    conditions::etag,
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
    let declared = declared(
        checksums_of!(input)?,
        input.content_md5.as_deref(),
        &request.headers,
        request.trailing_headers,
    )?;
    let body = incoming(input.body.take(), &request.headers, input.content_length, declared)?;
    let name = UploadName { bucket: &input.bucket, key: &input.key, id: &input.upload_id };
    let number = u32::try_from(input.part_number).unwrap_or(0);
    let part = api.vault.multiparts.put_part(&permit, &name, number, body).await?;
    let mut output =
        Output { e_tag: etag(part.etag), server_side_encryption: sse(), ..Output::default() };
    set_checksums!(output, texts(&part.checksums));
    Ok(S3Response::new(output))
}
