//! Gives s3s the secrets of access keys, to verify signatures with.

use readvault_ops::identity::Identity;
use s3s::{
    S3Result,
    auth::{S3Auth, SecretKey},
    s3_error,
};

/// The identities of the vault, as s3s asks for them.
pub(crate) struct Auth(pub(crate) Identity);

#[async_trait::async_trait]
impl S3Auth for Auth {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        match self.0.secret(access_key) {
            Some(secret) => Ok(SecretKey::from(secret.expose())),
            None => Err(s3_error!(
                InvalidAccessKeyId,
                "the access key id you provided does not exist in our records"
            )),
        }
    }
}
