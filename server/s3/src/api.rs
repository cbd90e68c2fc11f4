//! The operations that are served; every other one answers 501 NotImplemented.

use std::sync::Arc;

use http::Extensions;
use readvault_ops::{
    authorize::{Ask, Authorizer, Permit},
    core::Site,
    identity::Caller,
};
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, dto};

use crate::{access::note, fault::Result, operation, service::S3Vault};

/// What every operation uses.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) vault: S3Vault,
    pub(crate) authorizer: Authorizer,
    pub(crate) site: Arc<Site>,
}

impl Api {
    /// A permit of the request's caller for `action` on a bucket, or on `key` of it.
    pub(crate) fn permit<T>(
        &self,
        request: &S3Request<T>,
        action: &'static str,
        bucket: &str,
        key: Option<&str>,
    ) -> Result<Permit> {
        self.permit_all(request, &[ask(action, bucket, key)])
    }

    /// A permit of the request's caller for all of `asks`.
    pub(crate) fn permit_all<T>(&self, request: &S3Request<T>, asks: &[Ask]) -> Result<Permit> {
        let anonymous = Caller::anonymous();
        let caller = request.extensions.get::<Arc<Caller>>();
        let caller = caller.map_or(&anonymous, |caller| &**caller);
        Ok(self.authorizer.authorize(caller, asks)?)
    }
}

/// Asks for `action` on a bucket, or on `key` of it.
pub(crate) fn ask(action: &'static str, bucket: &str, key: Option<&str>) -> Ask {
    match key {
        Some(key) => Ask::new(action, format!("arn:aws:s3:::{bucket}/{key}")),
        None if bucket.is_empty() => Ask::new(action, "*"),
        None => Ask::new(action, format!("arn:aws:s3:::{bucket}")),
    }
}

fn answered<T>(extensions: &Extensions, answer: Result<S3Response<T>>) -> S3Result<S3Response<T>> {
    answer.map_err(|refusal| {
        let error: S3Error = refusal.0;
        let code = error.code().as_str().to_owned();
        note(extensions, |facts| facts.error = Some(code));
        error
    })
}

/// Implements the operations by the modules of their names.
macro_rules! operations {
    ($($name:ident: $input:ident => $output:ident,)*) => {
        #[async_trait::async_trait]
        impl S3 for Api {
            $(
                async fn $name(
                    &self,
                    request: S3Request<dto::$input>,
                ) -> S3Result<S3Response<dto::$output>> {
                    let extensions = request.extensions.clone();
                    answered(&extensions, operation::$name::run(self, request).await)
                }
            )*
        }
    };
}

operations! {
    abort_multipart_upload: AbortMultipartUploadInput => AbortMultipartUploadOutput,
    complete_multipart_upload: CompleteMultipartUploadInput => CompleteMultipartUploadOutput,
    copy_object: CopyObjectInput => CopyObjectOutput,
    create_bucket: CreateBucketInput => CreateBucketOutput,
    create_multipart_upload: CreateMultipartUploadInput => CreateMultipartUploadOutput,
    delete_bucket: DeleteBucketInput => DeleteBucketOutput,
    delete_bucket_tagging: DeleteBucketTaggingInput => DeleteBucketTaggingOutput,
    delete_object: DeleteObjectInput => DeleteObjectOutput,
    delete_object_tagging: DeleteObjectTaggingInput => DeleteObjectTaggingOutput,
    delete_objects: DeleteObjectsInput => DeleteObjectsOutput,
    get_bucket_acl: GetBucketAclInput => GetBucketAclOutput,
    get_bucket_encryption: GetBucketEncryptionInput => GetBucketEncryptionOutput,
    get_bucket_location: GetBucketLocationInput => GetBucketLocationOutput,
    get_bucket_ownership_controls:
        GetBucketOwnershipControlsInput => GetBucketOwnershipControlsOutput,
    get_bucket_tagging: GetBucketTaggingInput => GetBucketTaggingOutput,
    get_bucket_versioning: GetBucketVersioningInput => GetBucketVersioningOutput,
    get_object: GetObjectInput => GetObjectOutput,
    get_object_acl: GetObjectAclInput => GetObjectAclOutput,
    get_object_attributes: GetObjectAttributesInput => GetObjectAttributesOutput,
    get_object_tagging: GetObjectTaggingInput => GetObjectTaggingOutput,
    get_public_access_block: GetPublicAccessBlockInput => GetPublicAccessBlockOutput,
    head_bucket: HeadBucketInput => HeadBucketOutput,
    head_object: HeadObjectInput => HeadObjectOutput,
    list_buckets: ListBucketsInput => ListBucketsOutput,
    list_multipart_uploads: ListMultipartUploadsInput => ListMultipartUploadsOutput,
    list_object_versions: ListObjectVersionsInput => ListObjectVersionsOutput,
    list_objects: ListObjectsInput => ListObjectsOutput,
    list_objects_v2: ListObjectsV2Input => ListObjectsV2Output,
    list_parts: ListPartsInput => ListPartsOutput,
    put_bucket_acl: PutBucketAclInput => PutBucketAclOutput,
    put_bucket_tagging: PutBucketTaggingInput => PutBucketTaggingOutput,
    put_object: PutObjectInput => PutObjectOutput,
    put_object_acl: PutObjectAclInput => PutObjectAclOutput,
    put_object_tagging: PutObjectTaggingInput => PutObjectTaggingOutput,
    restore_object: RestoreObjectInput => RestoreObjectOutput,
    upload_part: UploadPartInput => UploadPartOutput,
    upload_part_copy: UploadPartCopyInput => UploadPartCopyOutput,
}
