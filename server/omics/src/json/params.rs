//! Path segments and query parameters, each decoded once.

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::request,
};
use percent_encoding::percent_decode_str;

use crate::error::ApiError;

/// The parameters of the path, decoded per raw segment: an encoded `/` stays inside its segment.
#[derive(Clone, Debug)]
pub(crate) struct Path(Vec<(String, String)>);

impl Path {
    /// The parameter `name` of the route.
    pub(crate) fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).expect("a handler asks for what its route declares")
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Path {
    type Rejection = ApiError;

    async fn from_request_parts(head: &mut request::Parts, state: &S) -> Result<Self, ApiError> {
        let raw = RawPathParams::from_request_parts(head, state)
            .await
            .map_err(|_| ApiError::validation("the path can't be decoded"))?;
        Ok(Self(raw.iter().map(|(name, value)| (name.into(), value.into())).collect()))
    }
}

/// The parameters of the query, in order, decoded; `+` is a plus.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// The one value of `name`.
    ///
    /// # Errors
    /// `ValidationException` when it came twice.
    pub(crate) fn one(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let mut values =
            self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let first = values.next();
        if values.next().is_some() {
            return Err(ApiError::validation(format!("{name} came more than once")));
        }
        Ok(first)
    }

    /// The one value of `name`, which must come.
    ///
    /// # Errors
    /// `ValidationException` when it is absent or came twice.
    pub(crate) fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.one(name)?.ok_or_else(|| ApiError::validation(format!("{name} is required")))
    }

    /// The value of `name` as a number of `range`.
    ///
    /// # Errors
    /// `ValidationException` when it is none.
    pub(crate) fn number(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        match text.parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(ApiError::validation(format!(
                "{name} must be a whole number from {} to {}",
                range.start(),
                range.end()
            ))),
        }
    }

    /// All values of `name`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(head: &mut request::Parts, _: &S) -> Result<Self, ApiError> {
        query_pairs(head.uri.query().unwrap_or_default()).map(Self)
    }
}

/// The pairs of a raw query, decoded.
///
/// # Errors
/// `ValidationException` when they are not UTF-8.
pub(crate) fn query_pairs(raw: &str) -> Result<Vec<(String, String)>, ApiError> {
    let decode = |text: &str| {
        percent_decode_str(text)
            .decode_utf8()
            .map(std::borrow::Cow::into_owned)
            .map_err(|_| ApiError::validation("the query is not UTF-8"))
    };
    raw.split('&')
        .filter(|piece| !piece.is_empty())
        .map(|piece| {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            Ok((decode(name)?, decode(value)?))
        })
        .collect()
}
