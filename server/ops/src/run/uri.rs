//! URIs that name inputs and outputs: `s3://…` and `omics://…`.

use crate::{Fault, fault::Result};

/// `s3://bucket/key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Uri {
    /// The bucket.
    pub bucket: String,
    /// The key; may be empty, never begins with a slash that was not doubled.
    pub key: String,
}

impl S3Uri {
    /// Reads `uri`, which must name a bucket and a key.
    ///
    /// # Errors
    /// What is wrong, in words for people.
    pub fn parse(uri: &str) -> std::result::Result<Self, &'static str> {
        let this = Self::parse_prefix(uri)?;
        if this.key.is_empty() {
            return Err("the URI names a bucket and no key");
        }
        Ok(this)
    }

    /// Reads `uri`, which names a bucket and perhaps a prefix.
    ///
    /// # Errors
    /// What is wrong, in words for people.
    pub fn parse_prefix(uri: &str) -> std::result::Result<Self, &'static str> {
        let rest = uri.strip_prefix("s3://").ok_or("the URI does not begin with s3://")?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let legal = (3..=63).contains(&bucket.len())
            && bucket
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b));
        if !legal {
            return Err("the URI names no legal bucket");
        }
        if key.len() > 1024 || key.contains('\0') {
            return Err("the key is not legal");
        }
        Ok(Self { bucket: bucket.into(), key: key.into() })
    }

    /// The ARN of the object.
    #[must_use]
    pub fn arn(&self) -> String {
        format!("arn:aws:s3:::{}/{}", self.bucket, self.key)
    }
}

/// A file of a read set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadSetPart {
    /// The first source; what a URI without a part means.
    Source1,
    /// The second source.
    Source2,
    /// The index.
    Index,
}

/// `omics://{account}.storage.{region}.amazonaws.com/{store}/readSet/{id}[/part]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadSetUri {
    /// The account.
    pub account: String,
    /// The region.
    pub region: String,
    /// The sequence store.
    pub store: String,
    /// The read set.
    pub id: String,
    /// Which file.
    pub part: ReadSetPart,
}

impl ReadSetUri {
    /// Reads `uri`.
    ///
    /// # Errors
    /// What is wrong, in words for people.
    pub fn parse(uri: &str) -> std::result::Result<Self, &'static str> {
        const SHAPE: &str = "the URI is not \
            omics://ACCOUNT.storage.REGION.amazonaws.com/STORE/readSet/ID[/source1|/source2|/index]";
        let rest = strip_prefix_any_case(uri, "omics://").ok_or(SHAPE)?;
        let (host, path) = rest.split_once('/').ok_or(SHAPE)?;
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix(".amazonaws.com").ok_or(SHAPE)?;
        let (account, region) = host.split_once(".storage.").ok_or(SHAPE)?;
        let mut parts = path.split('/');
        let (store, kind, id) = (parts.next(), parts.next(), parts.next());
        let (Some(store), Some(kind), Some(id)) = (store, kind, id) else { return Err(SHAPE) };
        if kind.eq_ignore_ascii_case("reference") {
            return Err("references can't be inputs of a run yet; import the file into a bucket");
        }
        let part = match parts.next().map(str::to_ascii_lowercase).as_deref() {
            None | Some("source1") => ReadSetPart::Source1,
            Some("source2") => ReadSetPart::Source2,
            Some("index") => ReadSetPart::Index,
            Some(_) => return Err(SHAPE),
        };
        let number = |text: &str| !text.is_empty() && text.len() <= 36 && is_digits(text);
        let legal = kind.eq_ignore_ascii_case("readSet")
            && number(store)
            && number(id)
            && parts.next().is_none()
            && (10..=12).contains(&account.len())
            && is_digits(account);
        if !legal {
            return Err(SHAPE);
        }
        Ok(Self {
            account: account.into(),
            region: region.into(),
            store: store.into(),
            id: id.into(),
            part,
        })
    }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn strip_prefix_any_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

/// Refuses a text that is empty, longer than `characters_max` or holds control characters.
pub(crate) fn check_text(what: &str, text: Option<&str>, characters_max: usize) -> Result<()> {
    let Some(text) = text else { return Ok(()) };
    let length = text.chars().count();
    if length == 0 || length > characters_max || text.chars().any(char::is_control) {
        return Err(Fault::invalid(format!(
            "{what} must be a text of 1 to {characters_max} characters without control characters"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_set_uris_are_read_as_the_clients_write_them() {
        let uri =
            "omics://123456789012.storage.us-east-1.amazonaws.com/1234567890/readSet/0987654321";
        let read = ReadSetUri::parse(uri).unwrap();
        assert_eq!((read.store.as_str(), read.id.as_str()), ("1234567890", "0987654321"));
        assert_eq!(read.part, ReadSetPart::Source1);
        let part = |end: &str| ReadSetUri::parse(&format!("{uri}{end}")).map(|uri| uri.part);
        assert_eq!(part("/source2"), Ok(ReadSetPart::Source2));
        assert_eq!(part("/INDEX"), Ok(ReadSetPart::Index));
        for bad in ["/source3", "/", "/source1/x", "?a"] {
            part(bad).unwrap_err();
        }
        for bad in [
            "omics://",
            "omics://123456789012.storage.us-east-1.example.org/1/readSet/2",
            "omics://123456789012.storage.us-east-1.amazonaws.com/1/readSet/../2",
            "omics://123456789012.storage.us-east-1.amazonaws.com/1/reference/2",
            "s3://b/k",
            "ömics://",
        ] {
            ReadSetUri::parse(bad).unwrap_err();
        }
    }

    #[test]
    fn s3_uris_name_a_bucket_and_a_key() {
        let uri = S3Uri::parse("s3://my-bucket/a//b c").unwrap();
        assert_eq!((uri.bucket.as_str(), uri.key.as_str()), ("my-bucket", "a//b c"));
        for bad in ["s3://my-bucket", "s3://my-bucket/", "s3:///k", "s3://B/k", "s3://a_b/k", "/k"]
        {
            S3Uri::parse(bad).unwrap_err();
        }
    }
}
