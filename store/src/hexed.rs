//! Bytes in the JSON of rows: written as hexadecimal digits, which a reader that does not want them skips at
//! once. Rows of before hold a list of numbers, and are read, too.

use std::fmt;

use serde::{Deserializer, Serializer, de};

/// Writes `bytes` as digits.
///
/// # Errors
/// Those of the serializer.
pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(bytes))
}

/// Reads digits, or a list of numbers.
///
/// # Errors
/// Those of the deserializer; what is neither.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    deserializer.deserialize_any(Bytes)
}

struct Bytes;

impl<'de> de::Visitor<'de> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hexadecimal digits, or a list of bytes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<u8>, E> {
        hex::decode(text).map_err(|_| E::invalid_value(de::Unexpected::Other("text"), &self))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<u8>, A::Error> {
        let mut bytes = Vec::with_capacity(list.size_hint().unwrap_or(0).min(128));
        while let Some(byte) = list.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    #[derive(PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
    struct Row(#[serde(with = "super")] Vec<u8>);

    #[test]
    fn digits_are_written_and_both_forms_read() {
        let row = Row(vec![0, 7, 255]);
        let text = serde_json::to_string(&row).unwrap();
        assert_eq!(text, "\"0007ff\"");
        for form in [text.as_str(), "[0,7,255]"] {
            assert_eq!(serde_json::from_str::<Row>(form).unwrap(), row);
        }
        for nonsense in ["\"0\"", "\"xy\"", "[256]", "1"] {
            assert!(serde_json::from_str::<Row>(nonsense).is_err());
        }
    }
}
