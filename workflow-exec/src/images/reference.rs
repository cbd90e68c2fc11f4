//! Image references: `NAME:TAG`, `NAME@sha256:…` or `sha256:…`.

use super::ImageError;

/// Most bytes of a name with its tag.
const NAME_BYTES_MAX: usize = 255;

/// What a reference asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reference {
    /// `sha256:` and 64 hexadecimal digits.
    Digest(String),
    /// `NAME:TAG`.
    Name(String),
}

impl Reference {
    /// Reads a reference; a name without a tag means `:latest`.
    pub(super) fn parse(text: &str) -> Result<Self, ImageError> {
        let digest = match text.split_once('@') {
            Some((name, digest)) => {
                checked_name(name)?;
                Some(digest)
            }
            None => text.starts_with("sha256:").then_some(text),
        };
        match digest {
            Some(digest) => {
                hex_of(digest).map_err(|_| ImageError::BadReference(text.to_owned()))?;
                Ok(Self::Digest(digest.to_owned()))
            }
            None => checked_name(text).map(Self::Name),
        }
    }
}

/// The name with its tag, or the reason why it is none.
pub(super) fn checked_name(text: &str) -> Result<String, ImageError> {
    let bad = || ImageError::BadReference(text.to_owned());
    let last = text.rsplit('/').next().unwrap_or(text);
    let (name, tag) = match last.rsplit_once(':') {
        Some((_, tag)) => (&text[..text.len() - tag.len() - 1], tag),
        None => (text, "latest"),
    };
    let component = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    // A registry may name its port.
    let (host, path) = name.split_once('/').unwrap_or(("host", name));
    let (host, port) = host.split_once(':').unwrap_or((host, "0"));
    let name_is_good = component(host)
        && !port.is_empty()
        && port.bytes().all(|b| b.is_ascii_digit())
        && path.split('/').all(component);
    let tag_is_good = (1..=128).contains(&tag.len())
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if text.len() > NAME_BYTES_MAX || !tag_is_good || !name_is_good {
        return Err(bad());
    }
    // A tag that looks like a digest's algorithm would make `sha256:…` ambiguous.
    if name == "sha256" { Err(bad()) } else { Ok(format!("{name}:{tag}")) }
}

/// The 64 digits of `sha256:…`.
pub(super) fn hex_of(digest: &str) -> Result<&str, ImageError> {
    digest
        .strip_prefix("sha256:")
        .filter(|hex| hex.len() == 64)
        .filter(|hex| hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
        .ok_or_else(|| ImageError::BadReference(digest.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_digests_are_told_apart() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let digests = [digest.clone(), format!("tools@{digest}"), format!("h:5000/a/b:1@{digest}")];
        for text in digests {
            assert_eq!(Reference::parse(&text).unwrap(), Reference::Digest(digest.clone()));
        }
        for (text, name) in [
            ("tools", "tools:latest"),
            ("tools:1.0", "tools:1.0"),
            ("host:5000/a/b", "host:5000/a/b:latest"),
            ("host:5000/a/b:2", "host:5000/a/b:2"),
        ] {
            assert_eq!(Reference::parse(text).unwrap(), Reference::Name(name.into()));
        }
    }

    #[test]
    fn what_could_leave_the_store_is_no_reference() {
        for text in [
            "",
            ":",
            "a:",
            "../x",
            "/x",
            "a//b",
            "a/../b",
            "sha256:12",
            "a@sha256:../../etc",
            "a@b",
            "a b",
            "a\n",
            "a:b:c",
            "a:b:c/",
            "h:p/a",
            "h:/a",
            "-x",
            "x:t@",
            "sha256:latest",
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
    }
}
