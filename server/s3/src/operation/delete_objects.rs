//! DeleteObjects: each key is judged and deleted by itself.

use readvault_ops::object::{condition::EtagIs, find::Name};
use s3s::{
    S3Request, S3Response,
    dto::{DeleteObjectsInput as Input, DeleteObjectsOutput as Output, DeletedObject, Error},
};

use crate::{
    api::Api,
    checksums::unsupported,
    fault::{Result, refuse},
    refuse::other_owner,
};

/// Keys of one request at most.
const KEYS_MAX: usize = 1000;

pub(crate) async fn run(api: &Api, request: S3Request<Input>) -> Result<S3Response<Output>> {
    other_owner(request.input.expected_bucket_owner.as_deref(), &api.site.account)?;
    let listing = api.permit(&request, "s3:ListBucket", &request.input.bucket, None);
    let bucket = request.input.bucket.clone();
    let objects = request.input.delete.objects.clone();
    if objects.is_empty() || objects.len() > KEYS_MAX {
        let message = "the request names 1 to 1,000 keys";
        return Err(refuse(s3s::S3ErrorCode::MalformedXML, message));
    }
    if let Ok(permit) = listing {
        api.vault.buckets.head(&permit, &bucket).await?;
    }
    let quiet = request.input.delete.quiet.unwrap_or(false);
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for object in objects {
        let outcome = async {
            let permit = api.permit(&request, "s3:DeleteObject", &bucket, Some(&object.key))?;
            if object.size.is_some() || object.last_modified_time.is_some() {
                return Err(unsupported("a condition on size or time of a deletion"));
            }
            let version = object.version_id.as_deref();
            let name = Name { bucket: &bucket, key: &object.key, version };
            let matches = object.e_tag.clone().map(|tag| EtagIs::Tag(tag.into_value()));
            Ok(api.vault.objects.delete(&permit, &name, matches).await?)
        };
        match outcome.await {
            Ok(()) if quiet => {}
            Ok(()) => deleted.push(DeletedObject {
                key: Some(object.key),
                version_id: object.version_id,
                ..Default::default()
            }),
            Err(refusal) => errors.push(Error {
                code: Some(refusal.0.code().as_str().to_owned()),
                message: refusal.0.message().map(str::to_owned),
                key: Some(object.key),
                version_id: object.version_id,
            }),
        }
    }
    Ok(S3Response::new(Output {
        deleted: Some(deleted),
        errors: (!errors.is_empty()).then_some(errors),
        ..Output::default()
    }))
}
