//! Tag sets: their rules.

use crate::{Fault, FaultKind, fault::Result};

/// Tags of an object at most.
pub const OBJECT_TAGS_MAX: usize = 10;

/// Tags of a bucket at most.
pub const BUCKET_TAGS_MAX: usize = 50;

/// Characters of a tag's key at most.
const KEY_CHARS_MAX: usize = 128;

/// Characters of a tag's value at most.
const VALUE_CHARS_MAX: usize = 256;

/// Checks a tag set of at most `limit` tags.
///
/// # Errors
/// `InvalidTag`, with the rule that it breaks.
pub fn check(tags: &[(String, String)], limit: usize) -> Result<()> {
    let broken = if tags.len() > limit {
        format!("there are at most {limit} tags")
    } else if tags.iter().any(|(key, _)| key.is_empty()) {
        "the key of a tag is not empty".into()
    } else if tags.iter().any(|(key, _)| key.chars().count() > KEY_CHARS_MAX) {
        format!("the key of a tag has at most {KEY_CHARS_MAX} characters")
    } else if tags.iter().any(|(_, value)| value.chars().count() > VALUE_CHARS_MAX) {
        format!("the value of a tag has at most {VALUE_CHARS_MAX} characters")
    } else if tags.iter().any(|(key, value)| !legal(key) || !legal(value)) {
        "a tag consists of letters, digits, spaces and + - = . _ : / @".into()
    } else if tags.iter().any(|(key, _)| key.to_ascii_lowercase().starts_with("aws:")) {
        "the prefix 'aws:' of tag keys is reserved".into()
    } else if tags.iter().enumerate().any(|(n, (key, _))| tags[..n].iter().any(|t| t.0 == *key)) {
        "the key of a tag is given once".into()
    } else {
        return Ok(());
    };
    Err(Fault::new(FaultKind::InvalidTag, broken))
}

fn legal(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || " +-=._:/@".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_hold() {
        let tag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        check(&[], 0).unwrap();
        check(&[tag("omics:subjectId", "é 1"), tag("b", "")], 2).unwrap();
        check(&[tag(&"é".repeat(128), &"v".repeat(256))], 1).unwrap();
        for bad in [
            vec![tag("", "v")],
            vec![tag("k", "v"), tag("k", "w")],
            vec![tag("a", ""), tag("b", ""), tag("c", "")],
            vec![tag(&"k".repeat(129), "")],
            vec![tag("k", &"v".repeat(257))],
            vec![tag("AWS:x", "v")],
            vec![tag("k", "a\nb")],
            vec![tag("k<", "v")],
        ] {
            assert_eq!(check(&bad, 2).unwrap_err().kind, FaultKind::InvalidTag, "{bad:?}");
        }
    }
}
