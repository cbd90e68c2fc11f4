//! What several test files need.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use md5::{Digest, Md5};
use readvault_inspect_protocol::{
    ByteStream, FileType, InspectRequest, Inspection, Inspector, InspectorSettings, SourceInfo,
    Summary, Verdict,
};

/// The shared corpus; `None`, said aloud, where it is not there.
pub(crate) fn corpus() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "a test is configured by its environment")]
    let named = std::env::var("READVAULT_CORPUS").ok().map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let corpus = named.unwrap_or(beside);
    if corpus.join("SOURCES.md").exists() {
        return Some(corpus);
    }
    println!("skipped: no corpus at {}", corpus.display());
    None
}

/// Settings that end a test in time.
pub(crate) fn settings() -> InspectorSettings {
    InspectorSettings { wall_max: Duration::from_secs(50), ..InspectorSettings::default() }
}

/// Inspects pieces of bytes in the real process.
pub(crate) fn inspect(
    settings: InspectorSettings,
    request: &InspectRequest,
    sources: Vec<ByteStream>,
) -> Inspection {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_readvault-inspect"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let inspector = Inspector::new(program, settings);
    runtime.block_on(inspector.inspect(request, sources)).unwrap()
}

/// Inspects whole sources.
pub(crate) fn check_bytes(sources: &[&[u8]], file_type: Option<FileType>) -> Inspection {
    let request = InspectRequest {
        file_type,
        sources: sources.iter().map(|_| SourceInfo::default()).collect(),
        ..InspectRequest::default()
    };
    let streams = sources.iter().map(|bytes| stream(bytes.to_vec())).collect();
    inspect(settings(), &request, streams)
}

/// Inspects files.
pub(crate) fn check(paths: &[&Path], file_type: Option<FileType>) -> Inspection {
    let sources: Vec<_> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    check_bytes(&sources.iter().map(|bytes| &bytes[..]).collect::<Vec<_>>(), file_type)
}

/// A stream of `bytes` in pieces of a size that fits nothing.
pub(crate) fn stream(bytes: Vec<u8>) -> ByteStream {
    const PIECE_BYTES: usize = 100_003;
    let pieces: Vec<io::Result<Bytes>> =
        bytes.chunks(PIECE_BYTES).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    Box::pin(futures::stream::iter(pieces))
}

/// The summary of an acceptance.
pub(crate) fn accepted(inspection: &Inspection) -> Summary {
    match &inspection.verdict {
        Verdict::Accepted(summary) => (**summary).clone(),
        Verdict::Refused(refusal) => panic!("refused: {refusal:?}"),
    }
}

/// The reason of a refusal.
pub(crate) fn reason(inspection: &Inspection) -> String {
    match &inspection.verdict {
        Verdict::Refused(refusal) => refusal.reason.clone(),
        Verdict::Accepted(summary) => panic!("accepted: {summary:?}"),
    }
}

/// MD5 in hexadecimal.
pub(crate) fn md5_hex(bytes: &[u8]) -> String {
    hex::encode(Md5::digest(bytes))
}
