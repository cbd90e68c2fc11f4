//! Replays the corpus of the fuzz targets: what is named `reject_…` is refused, the rest taken.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use readvault_inspect_protocol::{InspectRequest, SourceInfo, Verdict};

#[test]
fn every_file_is_judged_as_its_name_says() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let mut count = 0;
    for folder in std::fs::read_dir(&corpus).unwrap() {
        let folder = folder.unwrap().path();
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            let taken = if folder.ends_with("sam_header") {
                readvault_formats::sam_header::parse(&bytes).is_ok()
            } else {
                inspect(bytes)
            };
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert_eq!(taken, !name.starts_with("reject_"), "{path:?}");
            count += 1;
        }
    }
    assert!(count >= 18, "only {count} files");
}

fn inspect(bytes: Vec<u8>) -> bool {
    let sources = vec![SourceInfo::default()];
    let request = InspectRequest { sources, ..InspectRequest::default() };
    let input = Box::new(std::io::Cursor::new(bytes));
    let outcome = readvault_formats::inspect(&request, vec![input]).unwrap();
    matches!(outcome.verdict, Verdict::Accepted(_))
}
