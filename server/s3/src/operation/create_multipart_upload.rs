//! CreateMultipartUpload.

use readvault_ops::{
    multipart::create::checksum_kind,
    object::{condition::WriteConditions, put::PutObject},
};
use s3s::{
    S3Request, S3Response,
    dto::{CreateMultipartUploadInput as Input, CreateMultipartUploadOutput as Output},
};

use crate::{
    api::Api,
    checksums::{algorithm, kind, kind_name},
    fault::Result,
    refuse::{other_owner, sse},
    write::attributes_of,
};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit =
        api.permit(&request, "s3:PutObject", &request.input.bucket, Some(&request.input.key))?;
    let input = request.input;
    let mut input = input;
    let attributes = attributes_of!(input);
    let algorithm = algorithm(input.checksum_algorithm.as_ref())?;
    let checksum = checksum_kind(algorithm, kind(input.checksum_type.as_ref())?)?;
    let target = PutObject {
        bucket: input.bucket.clone(),
        key: input.key.clone(),
        attributes,
        conditions: WriteConditions::default(),
    };
    let upload = api.vault.multiparts.create(&permit, target, checksum).await?;
    Ok(S3Response::new(Output {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(upload.id),
        checksum_algorithm: input.checksum_algorithm,
        checksum_type: checksum.map(|(_, kind)| kind_name(kind)),
        server_side_encryption: sse(),
        ..Output::default()
    }))
}
