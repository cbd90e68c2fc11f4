//! The workflow families of HealthOmics (docs/omics-compat.md): routes. One file a family.
//!
//! The server puts the operations on runs into the requests' extensions ([`Runs`]); without them every
//! operation says that runs are off.

mod definition;
mod refused;
mod run;
mod run_answer;
mod task;

use axum::{Router, extract::FromRequestParts, http::request};
use readvault_ops::{listing::PageOf, run::Runs};

use crate::{
    Parts,
    error::ApiError,
    json::{Call, PageAsk, Path, Query, check_id},
};

pub(crate) fn routes() -> Router<Parts> {
    Router::new()
        .merge(definition::routes())
        .merge(run::routes())
        .merge(task::routes())
        .merge(refused::routes())
}

/// The operations on runs, as the server gave them.
#[derive(Clone, Debug)]
pub(crate) struct WithRuns(pub(crate) Runs);

impl<S: Send + Sync> FromRequestParts<S> for WithRuns {
    type Rejection = ApiError;

    async fn from_request_parts(head: &mut request::Parts, _: &S) -> Result<Self, ApiError> {
        let runs = head.extensions.get::<Runs>().cloned();
        runs.map(Self).ok_or_else(|| ApiError::not_supported("workflows and runs are off here"))
    }
}

/// The id `name` of the path: 1 to 18 digits.
fn path_id<'a>(path: &'a Path, name: &str) -> Result<&'a str, ApiError> {
    let id = path.get(name);
    check_id(name, id, 1..=18)?;
    Ok(id)
}

/// One list: what its tokens are bound to.
struct List<'a> {
    parts: &'a Parts,
    call: &'a Call,
    name: String,
}

impl List<'_> {
    /// The page that `query` asks for.
    async fn page(&self, query: &Query) -> Result<PageOf, ApiError> {
        let ask = PageAsk::named(query, "startingToken", ("maxResults", 100))?;
        let after = self.parts.tokens.read(&ask, &self.call.caller, &self.name).await?;
        Ok(PageOf { limit: ask.limit, after })
    }

    /// The token of the page after `next`.
    async fn token(&self, next: Option<Vec<u8>>) -> Result<Option<String>, ApiError> {
        let Some(next) = next else { return Ok(None) };
        self.parts.tokens.write(&next, &self.call.caller, &self.name).await.map(Some)
    }
}
