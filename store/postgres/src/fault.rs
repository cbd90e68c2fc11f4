//! What the database's errors mean to a caller of the catalog.

use readvault_store::{Error, ErrorKind};
use tokio_postgres::error::SqlState;

/// What the database said, without the parts that may quote keys or parameters.
#[derive(Clone, Debug, thiserror::Error)]
#[error("postgresql: {0}")]
struct Cause(String);

/// What became of a statement that did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The database undid the transaction because of another one: the same may be tried again.
    Repeat,
    /// The database undid the transaction for a reason of its own.
    Refused(Error),
    /// The connection is gone or the answer does not tell whether a commit took place.
    Lost(Error),
    /// Another server has the database, or it is not the one that it was: no commit can succeed any more.
    Ended(&'static str),
}

impl Failure {
    /// The error to give to somebody for whom nothing was changed.
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Repeat => {
                Error::new(ErrorKind::Unavailable, "the database undid a transaction too often")
            }
            Self::Refused(error) | Self::Lost(error) => error,
            Self::Ended(why) => Error::new(ErrorKind::Unavailable, why),
        }
    }
}

/// The failure of an operation at `context`.
pub(crate) fn failure(context: &'static str) -> impl Fn(tokio_postgres::Error) -> Failure {
    move |error| {
        let told = fault(context)(&error);
        match error.code() {
            Some(code) if is_repeatable(code) => Failure::Repeat,
            // Data, constraints, transaction states, rights, words, resources and limits: a definite no.
            Some(code) if ["22", "23", "25", "42", "53", "54"].contains(&class(code)) => {
                Failure::Refused(told)
            }
            _ => Failure::Lost(told),
        }
    }
}

/// The error of an operation at `context` that the database failed.
pub(crate) fn fault(context: &'static str) -> impl Fn(&tokio_postgres::Error) -> Error {
    move |error| Error::new(kind(error), context).because(Cause(words(error)))
}

/// Whether another connection may serve what this one failed.
pub(crate) fn is_lost(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        Some(code) => ["08", "57"].contains(&class(code)) && *code != SqlState::QUERY_CANCELED,
        None => true,
    }
}

fn is_repeatable(code: &SqlState) -> bool {
    [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(code)
}

fn class(code: &SqlState) -> &str {
    code.code().get(..2).unwrap_or_default()
}

fn kind(error: &tokio_postgres::Error) -> ErrorKind {
    match error.code() {
        Some(code) if *code == SqlState::DISK_FULL => ErrorKind::NoSpace,
        Some(code) if ["22", "42"].contains(&class(code)) => ErrorKind::Internal,
        Some(code) if *code == SqlState::DATA_CORRUPTED || *code == SqlState::INDEX_CORRUPTED => {
            ErrorKind::Corrupt
        }
        _ => ErrorKind::Unavailable,
    }
}

/// The code of an answer, or what happened to the connection. An answer's own words may name keys.
fn words(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    match (error.code(), error.source()) {
        (Some(code), _) => format!("SQLSTATE {}", code.code()),
        (None, Some(cause)) => format!("{error}: {cause}"),
        (None, None) => error.to_string(),
    }
}
