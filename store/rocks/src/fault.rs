//! What RocksDB's errors mean to a caller of the catalog.

use std::io;

use readvault_store::{Error, ErrorKind};

/// What RocksDB said, without the parts that may quote paths or keys; a file of the catalog by its name.
#[derive(Clone, Debug, thiserror::Error)]
#[error("rocksdb: {status}")]
struct Cause {
    status: String,
}

/// The error of an operation at `context` that RocksDB failed.
pub(crate) fn fault(context: &'static str) -> impl FnOnce(rocksdb::Error) -> Error {
    move |error| Error::new(kind(&error), context).because(Cause { status: status(error.as_ref()) })
}

/// The error of reading or changing a file at `context` that the system refused.
pub(crate) fn unavailable(context: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |cause| {
        let kind = match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
            _ => ErrorKind::Unavailable,
        };
        Error::new(kind, context).because(cause)
    }
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

/// The code, the first clause and the file: `Corruption: block checksum mismatch (000007.sst)`.
fn status(text: &str) -> String {
    let mut clauses = text.split(": ");
    let code = clauses.next().unwrap_or_default();
    let clause = clauses.next().unwrap_or_default();
    let plain = !clause.contains(['/', '\'', '"']) && clause.len() < 80;
    let status = if plain { format!("{code}: {clause}") } else { code.to_owned() };
    file_named(text).map_or_else(|| status.clone(), |file| format!("{status} ({file})"))
}

/// The last word that is the name of one of RocksDB's files.
fn file_named(text: &str) -> Option<&str> {
    let between = |c: char| c.is_whitespace() || "/:,;'\"()[]".contains(c);
    text.rsplit(between).find(|word| {
        let number = |digits: &str| digits.len() >= 6 && digits.bytes().all(|b| b.is_ascii_digit());
        let front = word.strip_suffix(".sst").or_else(|| word.strip_suffix(".log"));
        let end = word.strip_prefix("MANIFEST-").or_else(|| word.strip_prefix("OPTIONS-"));
        *word == "CURRENT" || front.or(end).is_some_and(number)
    })
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
        assert_eq!(
            status("Corruption: block checksum mismatch: stored = 1, in /d/000007.sst offset 9"),
            "Corruption: block checksum mismatch (000007.sst)"
        );
        assert_eq!(status("IO error: /secret/MANIFEST-000012: gone"), "IO error (MANIFEST-000012)");
        assert_eq!(status(""), ": ");
    }
}
