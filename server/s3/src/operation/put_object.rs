//! PutObject.

use readvault_ops::object::put::PutObject;
use s3s::{
    S3Request, S3Response,
    dto::{PutObjectInput as Input, PutObjectOutput as Output},
};

use crate::{
    api::Api,
    body::incoming,
    checksums::{checksums_of, declared, of_object, set_checksums},
    conditions::{etag, write},
    fault::Result,
    refuse::{features, other_owner, sse},
    write::attributes_of,
};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit =
        api.permit(&request, "s3:PutObject", &request.input.bucket, Some(&request.input.key))?;
    let input = request.input;
    let mut input = input;
    features(&[(input.write_offset_bytes.is_some(), "appending to an object")])?;
    let attributes = attributes_of!(input);
    let target = PutObject {
        bucket: input.bucket.clone(),
        key: input.key.clone(),
        attributes,
        conditions: write(input.if_match.take(), input.if_none_match.take())?,
    };
    let declared = declared(
        checksums_of!(input)?,
        input.content_md5.as_deref(),
        &request.headers,
        request.trailing_headers,
    )?;
    let body = incoming(input.body.take(), &request.headers, input.content_length, declared)?;
    let answer = api.vault.objects.put(&permit, target, body).await?;
    let mut output =
        Output { e_tag: etag(answer.etag), server_side_encryption: sse(), ..Output::default() };
    let (texts, kind) = of_object(&answer.checksums);
    set_checksums!(output, texts);
    output.checksum_type = kind;
    Ok(S3Response::new(output))
}
