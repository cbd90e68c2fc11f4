//! The named limits of a commit, held alike by every backend.

use super::{COMMIT_BYTES_MAX, COMMIT_ROWS_MAX, Commit, Write};
use crate::{Error, ErrorKind, Result};

/// Bytes of keys and values that `commit` carries, checks included.
#[must_use]
pub fn bytes_of(commit: &Commit) -> usize {
    let checks = commit.checks.iter().map(|check| check.row().key.len());
    let writes = commit.writes.iter().map(|write| match write {
        Write::Put(row, value) => row.key.len() + value.len(),
        Write::Delete(row) => row.key.len(),
    });
    checks.chain(writes).sum()
}

/// Refuses a commit above a limit; a row that is both checked and written counts once a list.
///
/// # Errors
/// `LimitExceeded`.
pub fn admit(commit: &Commit) -> Result<()> {
    if commit.checks.len() > COMMIT_ROWS_MAX || commit.writes.len() > COMMIT_ROWS_MAX {
        return Err(Error::new(ErrorKind::LimitExceeded, "a commit has too many rows"));
    }
    if bytes_of(commit) > COMMIT_BYTES_MAX {
        return Err(Error::new(ErrorKind::LimitExceeded, "a commit has too many bytes"));
    }
    Ok(())
}
