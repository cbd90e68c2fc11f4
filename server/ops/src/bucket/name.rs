//! Names of buckets: the rules of S3, and the names that are kept for ReadVault's own use.

use std::net::Ipv4Addr;

use crate::{Fault, FaultKind, fault::Result};

/// First path segments that belong to other APIs on the same port.
const RESERVED: &[&str] = &["ga4gh", "htsget"];

/// Prefixes that S3 keeps for itself.
const RESERVED_PREFIXES: &[&str] = &["xn--", "sthree-", "amzn-s3-demo-"];

/// Suffixes that S3 keeps for names that are no buckets; `-s3alias` names sequence stores here.
const RESERVED_SUFFIXES: &[&str] = &["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

/// Checks a name that a new bucket shall bear.
///
/// # Errors
/// `InvalidBucketName`, with the rule that it breaks.
pub fn check(name: &str) -> Result<()> {
    let broken = if !(3..=63).contains(&name.len()) {
        "a bucket name has 3 to 63 characters"
    } else if !name.bytes().all(legal) {
        "a bucket name consists of a-z, 0-9, '-' and '.'"
    } else if !name.split('.').all(|label| edge(label.as_bytes())) {
        "each label of a bucket name begins and ends with a letter or digit"
    } else if name.parse::<Ipv4Addr>().is_ok() {
        "a bucket name is not an IP address"
    } else if RESERVED.contains(&name)
        || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || RESERVED_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
    {
        "this bucket name is reserved"
    } else {
        return Ok(());
    };
    Err(Fault::new(FaultKind::InvalidBucketName, broken))
}

fn legal(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
}

fn edge(label: &[u8]) -> bool {
    let sound = |byte: Option<&u8>| byte.is_some_and(|byte| *byte != b'-');
    sound(label.first()) && sound(label.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_hold() {
        for good in ["abc", "a.b", "1-2", "run-folder.2026", "api", "health", &"a".repeat(63)] {
            check(good).unwrap();
        }
        let long = "a".repeat(64);
        for bad in [
            "",
            "ab",
            &long,
            "Abc",
            "a_b",
            "-ab",
            "ab-",
            "a..b",
            ".ab",
            "ab.",
            "a.-b",
            "1.2.3.4",
            "ga4gh",
            "htsget",
            "_rv",
            "xn--abc",
            "x-s3alias",
            "bucket\0",
            "a/b",
            "a b",
        ] {
            assert_eq!(check(bad).unwrap_err().kind, FaultKind::InvalidBucketName, "{bad}");
        }
    }
}
