//! What went wrong, as an exit code tells it to scripts and a message to people.

use std::fmt;

/// What a script should do about a failure; the number is the process's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Some of the work failed, the rest is done.
    Partly = 1,
    /// The command line or a file named on it is wrong.
    Usage = 2,
    /// The named thing does not exist.
    NotFound = 3,
    /// Denied, or no usable credentials.
    Denied = 4,
    /// Refused: immutable, held or retained.
    Immutable = 5,
    /// Bytes do not match their digest.
    Integrity = 6,
    /// Temporary: the same command may succeed later.
    Temporary = 7,
    /// A quota or the disk is full.
    Full = 8,
    /// The run failed.
    RunFailed = 9,
    /// Client and server do not speak the same version.
    Version = 10,
    /// Interrupted; the state to resume from is kept.
    Interrupted = 130,
}

/// What went wrong, why, and what to do next.
#[derive(Debug)]
pub struct Fault {
    /// The exit code.
    pub exit: Exit,
    /// What, in one line.
    pub what: String,
    /// What to do, when there is something.
    pub hint: Option<String>,
    /// The server's id of the request.
    pub request: Option<String>,
}

/// The result of a command.
pub type Result<T, E = Fault> = std::result::Result<T, E>;

impl Fault {
    /// A fault with nothing to advise.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), hint: None, request: None }
    }

    /// A mistake on the command line.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// The same fault with advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The fault of an answer that is no success.
    #[must_use]
    pub fn answered(status: u16, code: &str, message: &str, request: Option<String>) -> Self {
        let exit = match (status, code) {
            (_, "InsufficientStorage" | "ServiceQuotaExceededException") | (507, _) => Exit::Full,
            (_, "ObjectImmutable" | "InvalidObjectState") => Exit::Immutable,
            (404, _) => Exit::NotFound,
            (401 | 403, _) => Exit::Denied,
            (_, "BadDigest" | "XAmzContentSHA256Mismatch") => Exit::Integrity,
            (429 | 500 | 502 | 503 | 504, _) => Exit::Temporary,
            _ => Exit::Usage,
        };
        Self { exit, what: format!("{code}: {message}"), hint: None, request }
    }

    /// A local file can't be read or written.
    pub fn file(path: &std::path::Path, cause: &std::io::Error) -> Self {
        let exit = match cause.kind() {
            std::io::ErrorKind::StorageFull => Exit::Full,
            _ => Exit::Usage,
        };
        Self::new(exit, format!("{}: {cause}", path.display()))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  try: {hint}")?;
        }
        if let Some(request) = &self.request {
            write!(f, "\n  request {request}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_follows_from_what_a_script_can_do() {
        let exit = |status, code| Fault::answered(status, code, "", None).exit;
        assert_eq!(exit(404, "ResourceNotFoundException"), Exit::NotFound);
        assert_eq!(exit(403, "AccessDeniedException"), Exit::Denied);
        assert_eq!(exit(403, "InvalidObjectState"), Exit::Immutable);
        assert_eq!(exit(503, "SlowDown"), Exit::Temporary);
        assert_eq!(exit(402, "ServiceQuotaExceededException"), Exit::Full);
        assert_eq!(exit(400, "ValidationException"), Exit::Usage);
        assert_eq!(exit(400, "BadDigest"), Exit::Integrity);
    }
}
