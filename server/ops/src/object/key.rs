//! Object keys: what is legal, and how a key becomes the key of a row.
//!
//! Row key: bucket id (16 bytes) ‖ escaped key ‖ 00 ‖ inverted version sequence (8
//! bytes, big-endian). Escaping (00 → 01 01, 01 → 01 02) keeps the order of keys and lets 00 end
//! them.

use readvault_store::{catalog::RowKey, ids::StoreId};

use crate::{Fault, FaultKind, fault::Result, tables};

/// Bytes of a key at most.
pub const KEY_BYTES_MAX: usize = 1024;

/// Bytes of a row key before the escaped key.
pub const BUCKET_BYTES: usize = 16;

/// Bytes of a row key that tell versions apart.
pub const VERSION_BYTES: usize = 8;

/// Version sequence of every object of a bucket that was never versioned.
const UNVERSIONED: u64 = 0;

/// Checks that `key` may name an object.
///
/// S3 allows more: a key here can't leave the folder that it is once written into, nor hide in a
/// log or a terminal. `docs/s3-compat.md` lists the rules.
///
/// # Errors
/// `KeyTooLong` above 1,024 bytes; `InvalidKey` otherwise, with the rule that it breaks.
pub fn check(key: &str) -> Result<()> {
    let broken = if key.len() > KEY_BYTES_MAX {
        return Err(Fault::new(FaultKind::KeyTooLong, "an object key has at most 1,024 bytes"));
    } else if key.is_empty() {
        "an object key is not empty"
    } else if key.chars().any(char::is_control) {
        "an object key holds no control characters"
    } else if key.starts_with('/') {
        "an object key does not begin with '/'"
    } else if key.contains('\\') {
        "an object key holds no backslash"
    } else if key.split('/').any(|segment| segment == "." || segment == "..") {
        "no segment of an object key is '.' or '..'"
    } else {
        return Ok(());
    };
    Err(Fault::new(FaultKind::InvalidKey, broken))
}

/// The row of `key` in the bucket whose store is `bucket`.
#[must_use]
pub fn row(bucket: StoreId, key: &str) -> RowKey {
    let mut row = prefix(bucket, key);
    row.push(0);
    row.extend_from_slice(&(!UNVERSIONED).to_be_bytes());
    RowKey::new(tables::OBJECTS, row)
}

/// What the row keys of all keys that begin with `key` begin with.
#[must_use]
pub fn prefix(bucket: StoreId, key: &str) -> Vec<u8> {
    let mut row = bucket.as_bytes().to_vec();
    row.extend(escape(key));
    row
}

/// The least row key beyond every version of `key`.
#[must_use]
pub fn beyond(bucket: StoreId, key: &str) -> Vec<u8> {
    let mut row = prefix(bucket, key);
    row.push(1);
    row
}

/// `text` with 00 and 01 escaped.
#[must_use]
pub fn escape(text: &str) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            0 => escaped.extend_from_slice(&[1, 1]),
            1 => escaped.extend_from_slice(&[1, 2]),
            other => escaped.push(other),
        }
    }
    escaped
}

/// The text that `escaped` stands for, up to its end or a 00; none when it is malformed.
#[must_use]
pub fn unescape(escaped: &[u8]) -> Option<String> {
    let mut text = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            0 => break,
            1 => text.push(bytes.next()?.checked_sub(1).filter(|byte| *byte <= 1)?),
            other => text.push(*other),
        }
    }
    String::from_utf8(text).ok()
}

/// The key that a row key (or the name of a group of rows) of [`tables::OBJECTS`] stands for.
///
/// # Errors
/// `Corrupt` when it is malformed.
pub fn of_row(row: &[u8]) -> Result<String> {
    row.get(BUCKET_BYTES..)
        .and_then(unescape)
        .ok_or_else(|| Fault::new(FaultKind::Corrupt, "the key of a row is malformed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUCKET: StoreId = StoreId([7; 16]);

    #[test]
    fn rules_hold() {
        let long = "k".repeat(KEY_BYTES_MAX);
        for good in ["a", "a//b", "a/", "..a/b..", "ä/é", " ", "a+b %2F", &long, "a/.b", "..."] {
            check(good).unwrap();
        }
        for bad in [
            "", "/a", "a\0b", "a/../b", "..", ".", "a/.", "./a", "a\\b", "a\nb", "a\u{7f}",
            "a\u{85}b",
        ] {
            assert_eq!(check(bad).unwrap_err().kind, FaultKind::InvalidKey, "{bad:?}");
        }
        assert_eq!(check(&format!("{long}k")).unwrap_err().kind, FaultKind::KeyTooLong);
    }

    #[test]
    fn rows_are_ordered_as_keys_and_read_back() {
        let mut keys = vec![
            "a",
            "a\0",
            "a\0\0",
            "a\0\u{1}",
            "a\u{1}",
            "a\u{1}\0",
            "a\u{2}",
            "a!",
            "a/",
            "a/b",
            "ab",
            "b",
            "é",
            "\u{10FFFF}",
        ];
        keys.sort_unstable_by_key(|key| key.as_bytes());
        let rows: Vec<_> = keys.iter().map(|key| row(BUCKET, key).key).collect();
        assert!(rows.is_sorted());
        for (key, row) in keys.iter().zip(&rows) {
            assert_eq!(of_row(row).unwrap(), *key);
            assert!(beyond(BUCKET, key) > *row);
            assert!(row.starts_with(&prefix(BUCKET, key)));
        }
        for pair in keys.windows(2) {
            assert!(beyond(BUCKET, pair[0]) <= row(BUCKET, pair[1]).key, "{pair:?}");
        }
    }

    #[test]
    fn malformed_rows_are_corrupt() {
        for bad in [&[7; 3][..], &[[7; 16].as_slice(), &[1]].concat()] {
            assert_eq!(of_row(bad).unwrap_err().kind, FaultKind::Corrupt);
        }
        for bad in [&[1, 0][..], &[1, 3], &[1, 255], &[0xFF]] {
            assert_eq!(unescape(bad), None);
        }
    }
}
