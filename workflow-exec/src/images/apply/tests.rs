use std::os::unix::fs::MetadataExt;

use super::*;

const BUDGET: Budget = Budget { entries: 1000, bytes: 1 << 20 };

/// A tar of (type, path, link target or content); mode 0640, except where a test sets its own.
fn tar(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (kind, path, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(*kind);
        header.set_mode(0o640);
        // By hand, since the builder itself refuses paths that a hostile archive has.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        let body = if kind.is_file() { content.as_bytes() } else { &[] };
        if kind.is_symlink() || kind.is_hard_link() {
            header.as_mut_bytes()[157..157 + content.len()].copy_from_slice(content.as_bytes());
        }
        header.set_size(body.len() as u64);
        header.set_cksum();
        builder.append(&header, body).unwrap();
    }
    builder.into_inner().unwrap()
}

fn file<'a>(path: &'a str, content: &'a str) -> (EntryType, &'a str, &'a str) {
    (EntryType::Regular, path, content)
}

fn directory(path: &str) -> (EntryType, &str, &str) {
    (EntryType::Directory, path, "")
}

fn applied(layers: &[&[(EntryType, &str, &str)]]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for layer in layers {
        apply(root.path(), tar(layer).as_slice(), BUDGET).unwrap();
    }
    root
}

fn reason(layers: &[&[(EntryType, &str, &str)]]) -> String {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("root");
    fs::create_dir(&root).unwrap();
    let mut said = None;
    for layer in layers {
        said = apply(&root, tar(layer).as_slice(), BUDGET).err();
    }
    assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 1, "something lies beside the root");
    said.expect("the layer is refused").to_string()
}

fn names(root: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn later_layers_replace_hide_and_clear() {
    let root = applied(&[
        &[
            directory("./a/"),
            file("./a/1", "one"),
            file("./a/2", "two"),
            directory("b"),
            file("b/old", "old"),
            directory("b/sub"),
            file("b/sub/old", "old"),
            file("c", "a file"),
            directory("d"),
            file("d/x", "x"),
        ],
        &[
            file("a/.wh.1", ""),
            file("a/3", "three"),
            directory("b/sub"),
            file("b/sub/new", "new"),
            file("b/.wh..wh..opq", ""),
            file("b/new", "new"),
            directory("c"),
            file("c/now", "a directory"),
            file("d", "now a file"),
        ],
    ]);
    let root = root.path();
    assert_eq!(names(root), ["a", "b", "c", "d"]);
    assert_eq!(names(&root.join("a")), ["2", "3"]);
    assert_eq!(names(&root.join("b")), ["new", "sub"]);
    assert_eq!(names(&root.join("b/sub")), ["new"]);
    assert_eq!(fs::read_to_string(root.join("c/now")).unwrap(), "a directory");
    assert_eq!(fs::read_to_string(root.join("d")).unwrap(), "now a file");
}

#[test]
fn links_are_kept_and_never_followed() {
    let root = applied(&[&[
        file("real", "content"),
        (EntryType::Symlink, "abs", "/etc/passwd"),
        (EntryType::Symlink, "up", "../../.."),
        (EntryType::Link, "hard", "real"),
        (EntryType::Link, "same-link", "abs"),
        file("up", "replaces the link"),
    ]]);
    let root = root.path();
    assert_eq!(fs::read_link(root.join("abs")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(fs::read_link(root.join("same-link")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(fs::metadata(root.join("hard")).unwrap().nlink(), 2);
    assert_eq!(fs::read_to_string(root.join("up")).unwrap(), "replaces the link");
}

#[test]
fn nothing_reaches_out_of_the_root() {
    let out = (EntryType::Symlink, "out", "..");
    let hostile: &[&[(EntryType, &str, &str)]] = &[
        &[file("../x", "")],
        &[file("/x", "")],
        &[file("a/../../x", "")],
        &[out, file("out/x", "")],
        &[out, directory("out/x")],
        &[out, (EntryType::Symlink, "out/x", "y")],
        &[out, file("out/.wh.root", "")],
        &[file("f", ""), file("f/x", "")],
        &[(EntryType::Link, "x", "../root")],
        &[(EntryType::Link, "x", "/etc/passwd")],
        &[out, (EntryType::Link, "x", "out/root")],
        &[directory("d"), (EntryType::Link, "x", "d")],
        &[(EntryType::Link, "x", "missing")],
        &[file(".wh...", "")],
        &[file(".wh..", "")],
        &[file(".wh.", "")],
        &[(EntryType::Char, "null", "")],
        &[(EntryType::Block, "disk", "")],
        &[(EntryType::Fifo, "pipe", "")],
        &[file("x", ""), (EntryType::Link, "x", "x")],
    ];
    for layer in hostile {
        let said = reason(&[layer]);
        assert!(said.contains("entry "), "{layer:?}: {said}");
    }
    // The link may come from an earlier layer as well.
    assert!(reason(&[&[out], &[file("out/x", "")]]).contains("goes through a link"));
}

#[test]
fn nodes_of_dev_are_left_out() {
    let root = applied(&[&[directory("dev"), (EntryType::Char, "dev/null", "")]]);
    assert_eq!(names(&root.path().join("dev")), Vec::<String>::new());
}

#[test]
fn permissions_let_every_run_read_and_none_write() {
    for (mode, expected) in [
        (0o600, 0o644),
        (0o640, 0o644),
        (0o700, 0o755),
        (0o4755, 0o755),
        (0o2775, 0o755),
        (0o1777, 0o755),
        (0o000, 0o444),
        (0o111, 0o555),
    ] {
        assert_eq!(permissions(mode), expected, "{mode:o}");
    }
    let root = applied(&[&[file("x", "")]]);
    assert_eq!(fs::metadata(root.path().join("x")).unwrap().mode() & 0o7777, 0o644);
}

#[test]
fn limits_end_it() {
    let root = tempfile::tempdir().unwrap();
    let two = tar(&[file("a", "12345"), file("b", "12345")]);
    let limited = |entries, bytes| apply(root.path(), two.as_slice(), Budget { entries, bytes });
    assert!(matches!(limited(1, 100), Err(ApplyError::TooLarge)));
    assert!(matches!(limited(9, 9), Err(ApplyError::TooLarge)));
    let left = limited(2, 10).unwrap();
    assert_eq!((left.entries, left.bytes), (0, 0));
    let deep = format!("{}x", "d/".repeat(40));
    let deep = tar(&[file(&deep, "")]);
    let left = Budget { entries: 20, bytes: 10 };
    assert!(matches!(apply(root.path(), deep.as_slice(), left), Err(ApplyError::TooLarge)));
}

#[test]
fn a_truncated_archive_is_refused() {
    let whole = tar(&[file("a", "some content"), file("b", "more content")]);
    let mut refused = 0;
    for length in (1..1536 + 12).filter(|length| length % 512 != 0) {
        let root = tempfile::tempdir().unwrap();
        refused += u32::from(apply(root.path(), &whole[..length], BUDGET).is_err());
    }
    assert_eq!(refused, 1536 + 12 - 1 - 3);
}
