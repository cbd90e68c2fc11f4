//! Names of read sets as people write them.

use crate::fault::{Fault, Result};

/// Which file of a read set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileName {
    /// The first source.
    Source1,
    /// The second source of a pair.
    Source2,
    /// The index.
    Index,
}

impl FileName {
    /// As queries name it.
    #[must_use]
    pub fn as_query(self) -> &'static str {
        match self {
            Self::Source1 => "SOURCE1",
            Self::Source2 => "SOURCE2",
            Self::Index => "INDEX",
        }
    }

    /// As JSON members and URIs name it.
    #[must_use]
    pub fn as_member(self) -> &'static str {
        match self {
            Self::Source1 => "source1",
            Self::Source2 => "source2",
            Self::Index => "index",
        }
    }

    fn parse(text: &str) -> Result<Self> {
        match text {
            "source1" => Ok(Self::Source1),
            "source2" => Ok(Self::Source2),
            "index" => Ok(Self::Index),
            other => Err(Fault::usage(format!("`{other}` is none of source1, source2, index"))),
        }
    }
}

/// A read set, and perhaps one file of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadSetName {
    /// Name or id of its store, when it was said.
    pub store: Option<String>,
    /// Its id.
    pub id: String,
    /// The file, when it was said.
    pub file: Option<FileName>,
}

impl ReadSetName {
    /// Reads `ID`, `STORE/ID[/FILE]`, `readset://STORE/ID[/FILE]` or an `omics://` URI.
    ///
    /// # Errors
    /// `Usage` for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Fault::usage(format!("`{text}` names no read set"))
                .hint("write ID, STORE/ID, readset://STORE/ID or an omics:// URI")
        };
        if let Some(rest) = text.strip_prefix("omics://") {
            let mut parts = rest.split('/').skip(1);
            let (Some(store), Some("readSet"), Some(id)) =
                (parts.next(), parts.next(), parts.next())
            else {
                return Err(wrong());
            };
            return Self::of(Some(store), id, parts.next());
        }
        let plain = text.strip_prefix("readset://").unwrap_or(text);
        match *plain.split('/').collect::<Vec<_>>() {
            [id] if !id.is_empty() => Self::of(None, id, None),
            [store, id] => Self::of(Some(store), id, None),
            [store, id, file] => Self::of(Some(store), id, Some(file)),
            _ => Err(wrong()),
        }
    }

    fn of(store: Option<&str>, id: &str, file: Option<&str>) -> Result<Self> {
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Fault::usage(format!("`{id}` is not the number of a read set")));
        }
        let file = file.map(FileName::parse).transpose()?;
        Ok(Self { store: store.map(str::to_owned), id: id.to_owned(), file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_name_a_read_set_is_understood() {
        let id = |text| ReadSetName::parse(text).expect(text);
        assert_eq!(id("123").store, None);
        assert_eq!(id("core/123").store.as_deref(), Some("core"));
        assert_eq!(id("readset://core/123/source2").file, Some(FileName::Source2));
        let omics = id("omics://123456789012.storage.us-east-1.amazonaws.com/77/readSet/123/index");
        assert_eq!((omics.store.as_deref(), omics.file), (Some("77"), Some(FileName::Index)));
    }

    #[test]
    fn nonsense_is_refused_with_the_forms_that_work() {
        for text in ["", "a/b/c/d", "core/x", "omics://host/1/reference/2", "core/1/source3"] {
            assert!(ReadSetName::parse(text).is_err(), "{text}");
        }
    }
}
