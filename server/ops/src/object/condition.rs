//! Conditions of requests: pure.

use crate::{Fault, FaultKind, fault::Result};

/// What an ETag must be, or must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EtagIs {
    /// Any.
    Any,
    /// This one, without quotes.
    Tag(String),
}

impl EtagIs {
    fn matches(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Tag(tag) => tag == etag,
        }
    }
}

/// Conditions of a read, or of the source of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadConditions {
    /// `If-Match`.
    pub matches: Option<EtagIs>,
    /// `If-None-Match`.
    pub matches_not: Option<EtagIs>,
    /// `If-Modified-Since`, in seconds since 1970.
    pub modified_since: Option<i64>,
    /// `If-Unmodified-Since`, in seconds since 1970.
    pub unmodified_since: Option<i64>,
}

impl ReadConditions {
    /// Whether an object with this ETag, put at `modified_ms`, may be given (RFC 9110 §13.2.2).
    ///
    /// # Errors
    /// `PreconditionFailed`; `NotModified`.
    pub fn check(&self, etag: &str, modified_ms: u64) -> Result<()> {
        let modified = i64::try_from(modified_ms / 1000).unwrap_or(i64::MAX);
        match (&self.matches, self.unmodified_since) {
            (Some(tag), _) if !tag.matches(etag) => return Err(failed("If-Match")),
            (None, Some(since)) if modified > since => return Err(failed("If-Unmodified-Since")),
            _ => {}
        }
        let unchanged = match (&self.matches_not, self.modified_since) {
            (Some(tag), _) => tag.matches(etag),
            (None, Some(since)) => modified <= since,
            (None, None) => false,
        };
        if unchanged {
            return Err(Fault::new(FaultKind::NotModified, "not modified"));
        }
        Ok(())
    }

    /// The same for the source of a copy, where nothing can be "not modified".
    ///
    /// # Errors
    /// `PreconditionFailed`.
    pub fn check_source(&self, etag: &str, modified_ms: u64) -> Result<()> {
        self.check(etag, modified_ms).map_err(|_| failed("x-amz-copy-source-if"))
    }
}

/// Conditions of a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteConditions {
    /// `If-Match`: there must be an object, and its ETag must be this.
    pub matches: Option<EtagIs>,
    /// `If-None-Match: *`: there must be no object.
    pub absent: bool,
}

impl WriteConditions {
    /// Whether the object whose ETag is `current`, or none, may be replaced.
    ///
    /// # Errors
    /// `PreconditionFailed`; `NoSuchKey` for an ETag of an object that does not exist.
    pub fn check(&self, current: Option<&str>) -> Result<()> {
        match (&self.matches, current) {
            (Some(_), None) => {
                return Err(Fault::new(FaultKind::NoSuchKey, "the specified key does not exist"));
            }
            (Some(tag), Some(etag)) if !tag.matches(etag) => return Err(failed("If-Match")),
            _ => {}
        }
        if self.absent && current.is_some() {
            return Err(failed("If-None-Match"));
        }
        Ok(())
    }
}

fn failed(what: &str) -> Fault {
    let message = format!("at least one of the preconditions you specified did not hold: {what}");
    Fault::new(FaultKind::PreconditionFailed, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(text: &str) -> Option<EtagIs> {
        Some(EtagIs::Tag(text.into()))
    }

    #[test]
    fn etags_take_precedence_over_dates() {
        let check = |conditions: &ReadConditions| {
            conditions.check("e", 5_900).err().map(|fault| fault.kind)
        };
        let none = ReadConditions::default();
        assert_eq!(check(&none), None);
        let rows = [
            (tag("e"), None, None, None, None),
            (Some(EtagIs::Any), None, None, None, None),
            (tag("x"), None, None, None, Some(FaultKind::PreconditionFailed)),
            (None, tag("e"), None, None, Some(FaultKind::NotModified)),
            (None, Some(EtagIs::Any), None, None, Some(FaultKind::NotModified)),
            (None, tag("x"), None, None, None),
            (None, None, Some(5), None, Some(FaultKind::NotModified)),
            (None, None, Some(4), None, None),
            (None, None, None, Some(5), None),
            (None, None, None, Some(4), Some(FaultKind::PreconditionFailed)),
            (tag("e"), None, None, Some(4), None),
            (None, tag("x"), Some(9), None, None),
            (tag("x"), tag("e"), None, None, Some(FaultKind::PreconditionFailed)),
        ];
        for (matches, matches_not, modified_since, unmodified_since, expected) in rows {
            let conditions =
                ReadConditions { matches, matches_not, modified_since, unmodified_since };
            assert_eq!(check(&conditions), expected, "{conditions:?}");
            let source = conditions.check_source("e", 5_900).err().map(|fault| fault.kind);
            assert_eq!(source, expected.map(|_| FaultKind::PreconditionFailed));
        }
    }

    #[test]
    fn writes_are_conditional_on_what_is_there() {
        let kind = |matches, absent, current| {
            WriteConditions { matches, absent }.check(current).err().map(|fault| fault.kind)
        };
        assert_eq!(kind(None, false, Some("e")), None);
        assert_eq!(kind(None, true, None), None);
        assert_eq!(kind(None, true, Some("e")), Some(FaultKind::PreconditionFailed));
        assert_eq!(kind(tag("e"), false, Some("e")), None);
        assert_eq!(kind(tag("x"), false, Some("e")), Some(FaultKind::PreconditionFailed));
        assert_eq!(kind(tag("e"), false, None), Some(FaultKind::NoSuchKey));
    }
}
