//! What a request may carry and ReadVault does not do: refused, never ignored.

use readvault_ops::{Fault, FaultKind};
use s3s::{S3ErrorCode, dto};

use crate::{
    checksums::unsupported,
    fault::{Result, refuse},
};

/// Checks the account that a request expects to own a bucket.
pub(crate) fn other_owner(expected: Option<&str>, account: &str) -> Result<()> {
    if expected.is_none_or(|expected| expected == account) {
        return Ok(());
    }
    let message = "the bucket is not owned by the account that you expect";
    Err(Fault::new(FaultKind::AccessDenied, message).into())
}

/// Checks the canned ACL of a new object.
pub(crate) fn object_acl(
    acl: Option<&dto::ObjectCannedACL>,
    grants: &[Option<&str>],
) -> Result<()> {
    acl_name(acl.map(dto::ObjectCannedACL::as_str), grants)
}

/// Checks the canned ACL of a bucket.
pub(crate) fn bucket_acl(
    acl: Option<&dto::BucketCannedACL>,
    grants: &[Option<&str>],
) -> Result<()> {
    acl_name(acl.map(dto::BucketCannedACL::as_str), grants)
}

fn acl_name(acl: Option<&str>, grants: &[Option<&str>]) -> Result<()> {
    let private = matches!(acl, None | Some("private" | "bucket-owner-full-control"));
    if private && grants.iter().all(Option::is_none) {
        return Ok(());
    }
    Err(refuse(
        S3ErrorCode::AccessControlListNotSupported,
        "this vault knows no ACL but that of the owner's full control: use policies",
    ))
}

/// Checks the encryption that a request asks for: everything is encrypted, with ReadVault's own
/// keys.
pub(crate) fn encryption(
    sse: Option<&dto::ServerSideEncryption>,
    kms_key: Option<&str>,
    customer: &[Option<&str>],
) -> Result<()> {
    if customer.iter().any(Option::is_some) {
        return Err(unsupported("server-side encryption with customer-provided keys"));
    }
    let sse = sse.map(dto::ServerSideEncryption::as_str);
    if kms_key.is_some() || !matches!(sse, None | Some("AES256")) {
        return Err(unsupported("server-side encryption with a key of the request"));
    }
    Ok(())
}

/// Checks the storage class of a new object.
pub(crate) fn storage_class(class: Option<&dto::StorageClass>) -> Result<()> {
    match class.map(dto::StorageClass::as_str) {
        None | Some("STANDARD") => Ok(()),
        Some(_) => Err(refuse(
            S3ErrorCode::InvalidStorageClass,
            "the storage class you specified is not valid: this vault knows STANDARD",
        )),
    }
}

/// Refuses the named features where they are asked for.
pub(crate) fn features(asked: &[(bool, &str)]) -> Result<()> {
    match asked.iter().find(|(asked, _)| *asked) {
        None => Ok(()),
        Some((_, name)) => Err(unsupported(name)),
    }
}

/// The encryption that every answer states.
pub(crate) fn sse() -> Option<dto::ServerSideEncryption> {
    Some(dto::ServerSideEncryption::from_static(dto::ServerSideEncryption::AES256))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_done_is_taken() {
        other_owner(None, "1").unwrap();
        other_owner(Some("1"), "1").unwrap();
        assert!(other_owner(Some("2"), "1").is_err());
        acl_name(Some("private"), &[None]).unwrap();
        assert!(acl_name(Some("public-read"), &[]).is_err());
        assert!(acl_name(None, &[Some("id=x")]).is_err());
        let aes = dto::ServerSideEncryption::from_static("AES256");
        let kms = dto::ServerSideEncryption::from_static("aws:kms");
        encryption(Some(&aes), None, &[None]).unwrap();
        assert!(encryption(Some(&kms), None, &[]).is_err());
        assert!(encryption(None, Some("key"), &[]).is_err());
        assert!(encryption(None, None, &[None, Some("AES256")]).is_err());
        let glacier = dto::StorageClass::from_static("GLACIER");
        assert!(storage_class(Some(&glacier)).is_err());
        assert!(features(&[(false, "a"), (true, "b")]).is_err());
    }
}
