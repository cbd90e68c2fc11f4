//! Names of objects: `s3://bucket/key`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Fault, fault::Result};

/// An object that a job reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct S3Uri {
    /// Name of the bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
}

impl S3Uri {
    /// The object that `text` names.
    ///
    /// # Errors
    /// `InvalidArgument` with what it must be.
    pub fn parse(text: &str) -> Result<Self> {
        text.strip_prefix("s3://")
            .and_then(|rest| rest.split_once('/'))
            .filter(|(bucket, key)| (3..=63).contains(&bucket.len()) && !key.is_empty())
            .map(|(bucket, key)| Self { bucket: bucket.into(), key: key.into() })
            .ok_or_else(|| Fault::invalid("a source must be s3://bucket/key"))
    }

    /// The ARN of the object.
    #[must_use]
    pub fn arn(&self) -> String {
        format!("arn:aws:s3:::{}/{}", self.bucket, self.key)
    }
}

impl fmt::Display for S3Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bucket_with_a_key_is_an_object() {
        let uri = S3Uri::parse("s3://drop/run 1/a/b.bam").expect("an object");
        assert_eq!((uri.bucket.as_str(), uri.key.as_str()), ("drop", "run 1/a/b.bam"));
        assert_eq!(uri.to_string(), "s3://drop/run 1/a/b.bam");
        for bad in ["", "s3://", "s3://drop", "s3://drop/", "http://drop/k", "s3:///k", "drop/k"] {
            assert!(S3Uri::parse(bad).is_err(), "{bad}");
        }
    }
}
