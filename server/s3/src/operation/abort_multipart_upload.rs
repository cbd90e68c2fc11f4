//! AbortMultipartUpload.

use readvault_ops::multipart::UploadName;
use s3s::{
    S3Request, S3Response,
    dto::{AbortMultipartUploadInput as Input, AbortMultipartUploadOutput as Output},
};

use crate::{api::Api, fault::Result, refuse::other_owner};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit = api.permit(
        &request,
        "s3:AbortMultipartUpload",
        &request.input.bucket,
        Some(&request.input.key),
    )?;
    let input = request.input;
    let name = UploadName { bucket: &input.bucket, key: &input.key, id: &input.upload_id };
    api.vault.multiparts.abort(&permit, &name).await?;
    Ok(S3Response::with_status(Output::default(), http::StatusCode::NO_CONTENT))
}
