//! The storage families of HealthOmics (docs/omics-compat.md): routes. One file a family.

mod import;
mod jobs;
mod read_set;
mod reference;
mod reference_store;
mod sequence_store;
mod tags;
mod upload;

use axum::{Router, extract::State, response::Response, routing::any};
use readvault_ops::listing::PageOf;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    Parts,
    error::ApiError,
    json::{Call, PageAsk, Path, check_id, time_of},
};

/// The routes of every storage operation, built or refused.
pub(crate) fn routes() -> Router<Parts> {
    Router::new()
        .merge(sequence_store::routes())
        .merge(upload::routes())
        .merge(read_set::routes())
        .merge(import::routes())
        .merge(jobs::routes())
        .merge(reference_store::routes())
        .merge(reference::routes())
        .merge(tags::routes())
        .merge(refused())
}

/// Operations that are known and not built.
fn refused() -> Router<Parts> {
    let policy = "S3 access policies are not built: access is governed by IAM alone";
    let share = "shares are not built: every account of this vault is its owner's";
    let refuse = |message: &'static str| {
        any(move |call: Call, State(parts): State<Parts>| async move {
            call.permit(&parts, "omics:Unsupported", "*")?;
            Err::<Response, ApiError>(ApiError::not_supported(message))
        })
    };
    Router::new()
        .route("/s3accesspolicy/{arn}", refuse(policy))
        .route("/share", refuse(share))
        .route("/share/{id}", refuse(share))
        .route("/shares", refuse(share))
}

/// The refusal of annotation and variant stores, which AWS itself has closed.
pub(crate) fn refused_family(path: &str) -> Option<ApiError> {
    let family = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let import = path.starts_with("/import/variant") || path.starts_with("/import/annotation");
    let closed = import
        || ["variantStore", "variantStores", "annotationStore", "annotationStores"]
            .contains(&family);
    closed.then(|| ApiError::validation("annotation and variant stores are not served here"))
}

/// The storage id `name` of the path.
fn path_id<'a>(path: &'a Path, name: &str) -> Result<&'a str, ApiError> {
    let id = path.get(name);
    check_id(name, id, 10..=36)?;
    Ok(id)
}

/// A body that may hold a filter.
#[derive(Debug, Deserialize)]
struct Filtered<F> {
    filter: Option<F>,
}

/// Bounds of time, as filters have them.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Times {
    created_after: Option<Value>,
    created_before: Option<Value>,
}

impl Times {
    fn after(&self) -> Result<Option<u64>, ApiError> {
        time_opt("createdAfter", self.created_after.as_ref())
    }

    fn before(&self) -> Result<Option<u64>, ApiError> {
        time_opt("createdBefore", self.created_before.as_ref())
    }
}

fn time_opt(field: &str, value: Option<&Value>) -> Result<Option<u64>, ApiError> {
    value.filter(|value| !value.is_null()).map(|value| time_of(field, value)).transpose()
}

/// One list: what its tokens are bound to.
struct List<'a> {
    parts: &'a Parts,
    call: &'a Call,
    name: String,
}

impl<'a> List<'a> {
    /// The list of `operation` below `parent` under the filter `filter`, as the client wrote it.
    fn new(
        parts: &'a Parts,
        call: &'a Call,
        (operation, parent): (&str, &str),
        filter: &impl std::fmt::Debug,
    ) -> Self {
        Self { parts, call, name: format!("{operation} {parent} {filter:?}") }
    }

    /// The page that `ask` asks for.
    async fn of(&self, ask: &PageAsk) -> Result<PageOf, ApiError> {
        let after = self.parts.tokens.read(ask, &self.call.caller, &self.name).await?;
        Ok(PageOf { limit: ask.limit, after })
    }

    /// The token of the page that begins after `position`.
    async fn token(&self, position: Option<&[u8]>) -> Result<Option<String>, ApiError> {
        let Some(position) = position else { return Ok(None) };
        let token = self.parts.tokens.write(position, &self.call.caller, &self.name).await?;
        Ok(Some(token))
    }
}
