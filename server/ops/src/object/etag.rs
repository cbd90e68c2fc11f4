//! ETags (docs/semantics.md).
//!
//! Objects are always encrypted, so S3 allows ETags that are no MD5, and no core is spent on an MD5
//! that nobody asked for. Such an ETag has the shape `<32 hex>-N`, which clients know not to
//! compare.

use md5::{Digest as _, Md5};
use readvault_ambient::{Entropy, random};

use crate::body::{Digests, checking::Md5Wish};

/// Bytes of a whole object up to which its ETag is its MD5.
pub const MD5_BYTES_MAX: u64 = 1 << 20;

/// What ETags are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// The MD5 of small whole objects and of whatever came with Content-MD5; else opaque.
    #[default]
    Fast,
    /// AWS's own values everywhere.
    Md5,
}

impl Rule {
    /// Whether the MD5 of a whole object of `length` bytes is computed.
    #[must_use]
    pub fn wish_of_object(self, length: u64) -> Md5Wish {
        match self {
            Self::Fast if length > MD5_BYTES_MAX => Md5Wish::Unwanted,
            Self::Fast | Self::Md5 => Md5Wish::Wanted,
        }
    }

    /// Whether the MD5 of a part is computed.
    #[must_use]
    pub fn wish_of_part(self) -> Md5Wish {
        match self {
            Self::Fast => Md5Wish::Unwanted,
            Self::Md5 => Md5Wish::Wanted,
        }
    }
}

/// An opaque ETag.
#[must_use]
pub fn draw(entropy: &dyn Entropy) -> String {
    format!("{}-1", hex::encode(random::<16>(entropy)))
}

/// The ETag of a whole object or of a part: its MD5 where that was computed, else the opaque one that was
/// drawn for it.
#[must_use]
pub fn of(digests: &Digests, drawn: String) -> String {
    digests.md5.map_or(drawn, hex::encode)
}

/// The ETag of an object made of parts with these ETags: as AWS makes it, where those are MD5s.
#[must_use]
pub fn of_parts<'a>(parts: impl ExactSizeIterator<Item = &'a str>) -> String {
    let count = parts.len();
    let mut md5 = Md5::new();
    for part in parts {
        let mut bytes = [0; 16];
        match part.get(..32).map(|text| hex::decode_to_slice(text, &mut bytes)) {
            Some(Ok(())) => md5.update(bytes),
            _ => md5.update(part),
        }
    }
    format!("{}-{count}", hex::encode(md5.finalize()))
}

#[cfg(test)]
mod tests {
    use readvault_ambient::System;

    use super::*;

    #[test]
    fn md5_where_it_is_known_and_opaque_otherwise() {
        let known = Digests { md5: Some(Md5::digest(b"").into()), checksums: vec![] };
        assert_eq!(of(&known, draw(&System)), "d41d8cd98f00b204e9800998ecf8427e");
        let opaque = of(&Digests::default(), draw(&System));
        assert!(opaque.len() == 34 && opaque.ends_with("-1"));
        assert_ne!(opaque, of(&Digests::default(), draw(&System)));
    }

    #[test]
    fn small_objects_are_hashed_and_large_ones_are_not() {
        assert_eq!(Rule::Fast.wish_of_object(MD5_BYTES_MAX), Md5Wish::Wanted);
        assert_eq!(Rule::Fast.wish_of_object(MD5_BYTES_MAX + 1), Md5Wish::Unwanted);
        assert_eq!(Rule::Md5.wish_of_object(u64::MAX), Md5Wish::Wanted);
        assert_eq!(Rule::Fast.wish_of_part(), Md5Wish::Unwanted);
    }

    #[test]
    fn parts_with_md5s_give_the_value_of_aws() {
        // MD5 of the two binary MD5s of "" in a row, as `md5sum` gives it.
        let empty = "d41d8cd98f00b204e9800998ecf8427e";
        let mut md5 = Md5::new();
        md5.update(Md5::digest(b""));
        md5.update(Md5::digest(b""));
        let expected = format!("{}-2", hex::encode(md5.finalize()));
        assert_eq!(of_parts([empty, empty].into_iter()), expected);
        assert_ne!(of_parts(["x"].into_iter()), of_parts(["y"].into_iter()));
    }
}
