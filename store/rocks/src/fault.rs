//! What RocksDB's errors mean to a caller of the catalog.

use readvault_store::{Error, ErrorKind};

/// What RocksDB said, without the parts that may name files or quote keys.
#[derive(Clone, Debug, thiserror::Error)]
#[error("rocksdb: {status}")]
struct Cause {
    status: String,
}

/// The error of an operation at `context` that RocksDB failed.
pub(crate) fn fault(context: &'static str) -> impl FnOnce(rocksdb::Error) -> Error {
    move |error| Error::new(kind(&error), context).because(Cause { status: status(error.as_ref()) })
}

/// What the caller should do about `error`.
pub(crate) fn kind(error: &rocksdb::Error) -> ErrorKind {
    let text: &str = error.as_ref();
    if text.contains("No space left on device") || text.contains("Disk quota exceeded") {
        return ErrorKind::NoSpace;
    }
    match error.kind() {
        rocksdb::ErrorKind::Corruption => ErrorKind::Corrupt,
        rocksdb::ErrorKind::InvalidArgument | rocksdb::ErrorKind::NotSupported => {
            ErrorKind::Internal
        }
        _ => ErrorKind::Unavailable,
    }
}

/// The code and the first clause: `Corruption: block checksum mismatch`.
fn status(text: &str) -> String {
    let mut clauses = text.split(": ");
    let code = clauses.next().unwrap_or_default();
    let clause = clauses.next().unwrap_or_default();
    let plain = !clause.contains(['/', '\'', '"']) && clause.len() < 80;
    if plain { format!("{code}: {clause}") } else { code.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_quote_no_path() {
        let full = "IO error: No space left on device: While appending to file: /d/x.log: errno";
        assert_eq!(status(full), "IO error: No space left on device");
        assert_eq!(status("IO error: /secret/LOCK: busy"), "IO error");
        assert_eq!(
            status("Corruption: block checksum mismatch: stored = 1, in /d/7.sst"),
            "Corruption: block checksum mismatch"
        );
        assert_eq!(status(""), ": ");
    }
}
