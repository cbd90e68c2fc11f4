//! Names that are random bytes, never text of a user.

use std::fmt;

use readvault_ambient::{Entropy, random};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// Draws a new id.
            pub fn draw(entropy: &dyn Entropy) -> Self {
                Self(random(entropy))
            }

            /// The 16 bytes of this id.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(text(&self.0, &mut [0; 32]))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(text(&self.0, &mut [0; 32]))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Digits).map(Self)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseIdError;

            fn try_from(text: String) -> Result<Self, ParseIdError> {
                parse(&text).map(Self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse(text).map(Self)
            }
        }
    };
}

id!(
    /// One vault: a data directory and its copies.
    VaultId
);
id!(
    /// A sequence store, reference store or bucket: the unit of master key and of access.
    StoreId
);
id!(
    /// The unit of deduplication.
    DomainId
);
id!(
    /// A read set, a reference, an object version or an upload.
    ItemId
);
id!(
    /// One manifest record; a resealed body gets a new one.
    ManifestId
);
id!(
    /// One pack.
    PackId
);
id!(
    /// One start of one process that appends to packs.
    WriterId
);

/// The text is not 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is 32 hexadecimal digits")]
pub struct ParseIdError;

fn parse(text: &str) -> Result<[u8; 16], ParseIdError> {
    let mut bytes = [0; 16];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseIdError)?;
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) { Err(ParseIdError) } else { Ok(bytes) }
}

fn text<'a>(bytes: &[u8; 16], out: &'a mut [u8; 32]) -> &'a str {
    hex::encode_to_slice(bytes, out).expect("16 bytes have 32 digits");
    str::from_utf8(out).expect("digits are ASCII")
}

/// Reads the digits where they stand: rows hold many ids.
struct Digits;

impl de::Visitor<'_> for Digits {
    type Value = [u8; 16];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("32 lower-case hexadecimal digits")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        parse(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_nothing_else_is_one() {
        let id = PackId([0xA5; 16]);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<PackId>(&json).unwrap(), id);
        assert_eq!(id.to_string().parse(), Ok(id));
        let upper = id.to_string().to_uppercase();
        for bad in ["", "a5", &upper, &"g".repeat(32), &"a5".repeat(17)] {
            assert_eq!(bad.parse::<PackId>(), Err(ParseIdError), "{bad}");
        }
    }
}
