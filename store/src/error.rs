//! The one error that crosses the border of this crate.

use std::{borrow::Cow, fmt};

/// What the caller should do about an [`Error`]. A new kind needs a decision note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The named thing does not exist.
    NotFound,
    /// The named thing exists already.
    AlreadyExists,
    /// A condition of the request does not hold; read again and decide again.
    Precondition,
    /// The input can never be accepted as it is.
    InvalidInput,
    /// A named limit would be passed.
    LimitExceeded,
    /// Stored bytes failed a check. Never retried, never answered with a guess.
    Corrupt,
    /// The key that opens this is disabled, absent or erased.
    KeyUnavailable,
    /// The disk has no room left.
    NoSpace,
    /// May succeed later.
    Unavailable,
    /// A fault of this program.
    Internal,
}

/// An error of the vault: what the caller can do, where it happened, and the cause.
///
/// The context holds ids and offsets only, never plaintext, keys, names or paths.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    context: Cow<'static, str>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of a vault operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` that happened at `context`.
    pub fn new(kind: ErrorKind, context: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    /// The same error with its cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Stored bytes at `context` failed a check.
    pub fn corrupt(context: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Corrupt, context)
    }

    /// What the caller should do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|cause| cause as _)
    }
}

/// Turns an I/O error met at `context` into the kind that tells the caller what to do.
pub(crate) fn io(context: impl Into<Cow<'static, str>>) -> impl FnOnce(std::io::Error) -> Error {
    use std::io::ErrorKind as Io;
    let context = context.into();
    move |cause| {
        let kind = match cause.kind() {
            Io::NotFound => ErrorKind::NotFound,
            Io::StorageFull | Io::QuotaExceeded => ErrorKind::NoSpace,
            Io::UnexpectedEof => ErrorKind::Corrupt,
            _ => ErrorKind::Unavailable,
        };
        Error::new(kind, context).because(cause)
    }
}
