//! What a list shows of an object: the front of its row.
//!
//! A page has a thousand rows, and to read all of each would cost more than all else. Rows are written with
//! what lists show first ([`Object`](super::Object)), so that the rest, above all the item, is not looked at.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use super::Checksums;
use crate::{Fault, FaultKind, fault::Result};

/// What a list shows of an object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// Its ETag, without quotes.
    pub(super) etag: String,
    /// Milliseconds since 1970 at which it was put.
    pub(super) modified_ms: u64,
    /// Its checksums.
    pub(super) checksums: Checksums,
    /// Its length in bytes.
    pub(super) length: u64,
}

impl Shown {
    /// Reads it from the row of an object, and of that no more than it must.
    ///
    /// # Errors
    /// `Corrupt` when something is missing or malformed before all is found.
    pub(super) fn of_row(row: &[u8]) -> Result<Self> {
        let mut found = None;
        let read = serde_json::Deserializer::from_slice(row).deserialize_map(Front(&mut found));
        // Once all is found the reader misses the end of the row, which nobody asks for.
        let malformed = Fault::new(FaultKind::Corrupt, "a row is malformed");
        found.ok_or_else(|| match read {
            Err(cause) => malformed.because(cause),
            Ok(()) => malformed,
        })
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    Etag,
    ModifiedMs,
    Checksums,
    File,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct File {
    length: u64,
}

/// Stops at the last of the fields; what it found is left in its place.
struct Front<'a>(&'a mut Option<Shown>);

impl<'de> Visitor<'de> for Front<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the row of an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        let (mut etag, mut modified_ms, mut checksums, mut file) = (None, None, None, None);
        while (etag.is_none() || modified_ms.is_none() || checksums.is_none() || file.is_none())
            && let Some(field) = map.next_key()?
        {
            match field {
                Field::Etag => etag = Some(map.next_value()?),
                Field::ModifiedMs => modified_ms = Some(map.next_value()?),
                Field::Checksums => checksums = Some(map.next_value()?),
                Field::File => file = Some(map.next_value::<File>()?),
                Field::Other => {
                    let IgnoredAny = map.next_value()?;
                }
            }
        }
        if let (Some(etag), Some(modified_ms), Some(file)) = (etag, modified_ms, file) {
            let checksums = checksums.unwrap_or_default();
            *self.0 = Some(Shown { etag, modified_ms, checksums, length: file.length });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str =
        r#"{"etag":"e","modified_ms":7,"checksums":{},"file":{"store":"s","length":5}"#;

    #[test]
    fn the_order_of_fields_and_what_stands_between_them_do_not_matter() {
        let checksums = Checksums::default();
        let wanted = Shown { etag: "e".into(), modified_ms: 7, checksums, length: 5 };
        for row in [
            &format!("{WHOLE},\"item\":{{}}}}"),
            &format!("{WHOLE}}}"),
            r#"{"item":{"a":[1,{}]},"file":{"length":5,"store":"s"},"etag":"e","modified_ms":7}"#,
        ] {
            assert_eq!(Shown::of_row(row.as_bytes()).unwrap(), wanted, "{row}");
        }
    }

    #[test]
    fn nothing_is_read_behind_what_lists_show() {
        assert!(Shown::of_row(format!("{WHOLE},\"item\":").as_bytes()).is_ok());
    }

    #[test]
    fn a_row_that_lacks_something_is_corrupt() {
        for row in ["", "{}", "[]", r#"{"etag":"e","modified_ms":7}"#, r#"{"etag":7}"#] {
            let refused = Shown::of_row(row.as_bytes()).unwrap_err();
            assert_eq!(refused.kind, FaultKind::Corrupt, "{row}");
        }
    }
}
