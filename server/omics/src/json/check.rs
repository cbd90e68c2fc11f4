//! Checks of single fields: each error names the field and what it must be.

use std::collections::BTreeMap;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::error::ApiError;

/// Checks a text of 1 to `max` characters without control characters (`T127` and its kin).
pub(crate) fn check_text(field: &str, text: &str, max: usize) -> Result<(), ApiError> {
    let length = text.chars().count();
    if length == 0 || length > max {
        return Err(ApiError::validation(format!("{field} must have 1 to {max} characters")));
    }
    if text.chars().any(|c| c.is_control() || c == '\u{2028}' || c == '\u{2029}') {
        return Err(ApiError::validation(format!("{field} may hold no control characters")));
    }
    Ok(())
}

/// As [`check_text`] for a field that may be absent.
pub(crate) fn check_text_opt(field: &str, text: Option<&str>, max: usize) -> Result<(), ApiError> {
    text.map_or(Ok(()), |text| check_text(field, text, max))
}

/// Checks an id: `min` to `max` digits.
pub(crate) fn check_id(
    field: &str,
    id: &str,
    digits: std::ops::RangeInclusive<usize>,
) -> Result<(), ApiError> {
    if digits.contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(());
    }
    Err(ApiError::validation(format!(
        "{field} must be {} to {} digits",
        digits.start(),
        digits.end()
    )))
}

/// Checks an ARN of `length` characters.
pub(crate) fn check_arn(
    field: &str,
    arn: &str,
    length: std::ops::RangeInclusive<usize>,
) -> Result<(), ApiError> {
    if arn.starts_with("arn:") && length.contains(&arn.len()) {
        return Ok(());
    }
    Err(ApiError::validation(format!("{field} must be an ARN")))
}

/// Checks tags: at most 50, keys of 1 to 128 characters, values of at most 256, no `aws:` keys.
pub(crate) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if tags.len() > 50 {
        return Err(ApiError::validation("tags may have at most 50 entries"));
    }
    for (key, value) in tags {
        if !(1..=128).contains(&key.chars().count()) || value.chars().count() > 256 {
            return Err(ApiError::validation(
                "a tag has a key of 1 to 128 characters and a value of at most 256",
            ));
        }
        if key.starts_with("aws:") {
            return Err(ApiError::validation("a tag key may not begin with aws:"));
        }
    }
    Ok(())
}

/// Tags as rows hold them.
pub(crate) fn tag_list(tags: BTreeMap<String, String>) -> Vec<(String, String)> {
    tags.into_iter().collect()
}

/// Tags as answers hold them.
pub(crate) fn tag_map(tags: &[(String, String)]) -> BTreeMap<&str, &str> {
    tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

/// Milliseconds since 1970 of an RFC 3339 time or of a number of seconds.
pub(crate) fn time_of(field: &str, value: &serde_json::Value) -> Result<u64, ApiError> {
    let wrong = || ApiError::validation(format!("{field} must be an RFC 3339 time"));
    let nanos = match value {
        serde_json::Value::String(text) => {
            OffsetDateTime::parse(text, &Rfc3339).map_err(|_| wrong())?.unix_timestamp_nanos()
        }
        serde_json::Value::Number(number) => {
            i128::from(number.as_i64().ok_or_else(wrong)?) * 1_000_000_000
        }
        _ => return Err(wrong()),
    };
    u64::try_from(nanos / 1_000_000).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_keeps_to_its_length_and_has_no_controls() {
        assert!(check_text("name", "ä | ~", 127).is_ok());
        assert!(check_text("name", &"é".repeat(127), 127).is_ok());
        for bad in ["", "a\tb", "a\nb", "\u{7f}", &"x".repeat(128)] {
            assert!(check_text("name", bad, 127).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ids_are_digits() {
        assert!(check_id("id", "0123456789", 10..=36).is_ok());
        for bad in ["", "123456789", "12345678a0", "-123456789", &"1".repeat(37)] {
            assert!(check_id("id", bad, 10..=36).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_read_in_both_spellings() {
        let at = |value| time_of("t", &value).ok();
        assert_eq!(at(json!("2024-01-01T00:00:00Z")), Some(1_704_067_200_000));
        assert_eq!(at(json!("2024-01-01T01:00:00.5+01:00")), Some(1_704_067_200_500));
        assert_eq!(at(json!(1_704_067_200)), Some(1_704_067_200_000));
        assert_eq!(at(json!("yesterday")), None);
        assert_eq!(at(json!("1960-01-01T00:00:00Z")), None);
    }

    #[test]
    fn tags_keep_to_their_limits() {
        let tags = |key: &str, value: &str| BTreeMap::from([(key.into(), value.into())]);
        assert!(check_tags(&tags("k", "")).is_ok());
        assert!(check_tags(&tags("", "v")).is_err());
        assert!(check_tags(&tags("aws:x", "v")).is_err());
        assert!(check_tags(&tags(&"k".repeat(129), "v")).is_err());
        assert!(check_tags(&tags("k", &"v".repeat(257))).is_err());
        let many = (0..51).map(|n| (n.to_string(), String::new())).collect();
        assert!(check_tags(&many).is_err());
    }
}
