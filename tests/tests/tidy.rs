//! What a review need not argue about: sizes of files, module files, and the arrows between rooms.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Most lines of a file of production code; tests within it count.
const LINES_MAX: usize = 600;

/// Most columns of a line, but for those that hold what can't be broken.
const COLUMNS_MAX: usize = 120;

/// Which room may import which: a package, then the packages of this house that it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("ambient", &[]),
    ("store", &["ambient"]),
    ("store/rocks", &["ambient", "store"]),
    ("store/postgres", &["ambient", "store"]),
    ("formats/protocol", &[]),
    ("formats", &["inspect-protocol"]),
    ("workflow-exec/protocol", &[]),
    ("workflow-exec", &["ambient", "exec-protocol"]),
    ("client", &["ambient"]),
    ("server/ops", &["ambient", "store", "inspect-protocol", "exec-protocol"]),
    ("server/s3", &["ambient", "ops"]),
    ("server/omics", &["ambient", "ops", "store"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_owned()
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

#[test]
fn files_stay_small_and_lines_short() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    assert!(files.len() > 200, "the walk finds the sources");
    let mut faults = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).expect("a source");
        let lines = text.lines().count();
        if lines > LINES_MAX {
            faults.push(format!("{}: {lines} lines", path.display()));
        }
        for (number, line) in text.lines().enumerate() {
            if line.chars().count() > COLUMNS_MAX && !line.contains("\"") {
                faults.push(format!("{}:{}: a long line", path.display(), number + 1));
            }
        }
        if path.file_name().is_some_and(|name| name == "mod.rs") {
            faults.push(format!("{}: name the file as its module", path.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn rooms_import_only_what_the_plan_allows() {
    for (room, allowed) in ARROWS {
        let manifest = root().join(room).join("Cargo.toml");
        let text = fs::read_to_string(&manifest).expect("a manifest");
        let normal = text.split("[dev-dependencies]").next().expect("a first part");
        for line in normal.lines() {
            let Some(rest) = line.strip_prefix("readvault-") else { continue };
            let name = rest.split(['.', ' ', '=']).next().unwrap_or_default();
            assert!(allowed.contains(&name), "{room} must not import {name}");
        }
    }
}

#[test]
fn the_server_links_no_parser_and_no_container_library() {
    for room in ["server", "server/ops", "server/s3", "server/omics", "store", "client"] {
        let text = fs::read_to_string(root().join(room).join("Cargo.toml")).expect("a manifest");
        for banned in
            ["noodles", "libcontainer", "fuser", "readvault-formats", "readvault-workflow-exec"]
        {
            let named = text.lines().any(|line| {
                line.strip_prefix(banned).is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
            });
            assert!(!named, "{room} must not link {banned}");
        }
    }
}
