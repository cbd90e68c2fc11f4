//! RestoreObject: an active object needs none; activation is a call of the omics API so far.

use readvault_ops::object::{find::Name, get::GetObject};
use s3s::{
    S3Request, S3Response,
    dto::{RestoreObjectInput as Input, RestoreObjectOutput as Output},
};

use crate::{api::Api, checksums::unsupported, fault::Result, refuse::other_owner};

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let permit =
        api.permit(&request, "s3:RestoreObject", &request.input.bucket, Some(&request.input.key))?;
    let input = request.input;
    let name =
        Name { bucket: &input.bucket, key: &input.key, version: input.version_id.as_deref() };
    let head = api.vault.objects.head(&permit, &name, &GetObject::default()).await?;
    if head.found.readable().is_err() {
        return Err(unsupported("activation by RestoreObject"));
    }
    Ok(S3Response::with_status(Output::default(), http::StatusCode::OK))
}
