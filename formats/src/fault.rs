//! Why an inspection ends early.

use std::io;

use readvault_inspect_protocol::Place;

/// The result of every check.
pub type Result<T> = std::result::Result<T, Fault>;

/// Either the bytes are at fault, or they could not be read.
#[derive(Debug)]
pub enum Fault {
    /// The bytes are refused, at this place, for this reason.
    Refused {
        /// Where.
        place: Place,
        /// What and where, in words.
        reason: String,
    },
    /// The bytes did not arrive: no judgement.
    Input(io::Error),
}

impl Fault {
    /// A refusal at `place`.
    pub(crate) fn at(place: Place, reason: impl Into<String>) -> Self {
        Self::Refused { place, reason: reason.into() }
    }

    /// A refusal at a byte of the source.
    pub(crate) fn at_byte(byte: u64, reason: impl Into<String>) -> Self {
        Self::at(Place { byte: Some(byte), ..Place::default() }, reason)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Input(error)
    }
}
