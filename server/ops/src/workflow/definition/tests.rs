//! Zips that people send, and zips that attackers send.

use std::io::Write;

use zip::{ZipWriter, write::SimpleFileOptions};

use super::*;

const SOURCE: &str = "version 1.0\nworkflow w { }";

fn zip_of(entries: &[(&str, &[u8])]) -> Bytes {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner().into()
}

fn refusal(zip: &Bytes) -> String {
    check(zip).unwrap_err().to_string()
}

/// A zip whose entry is called `wanted`, which the writer itself would refuse or change.
fn renamed(wanted: &str) -> Bytes {
    let stand_in = "x".repeat(wanted.len());
    let zip = zip_of(&[(&stand_in, b"data")]);
    replace_all(&zip, stand_in.as_bytes(), wanted.as_bytes())
}

fn replace_all(zip: &[u8], old: &[u8], new: &[u8]) -> Bytes {
    let mut zip = zip.to_vec();
    let places: Vec<_> =
        (0..=zip.len() - old.len()).filter(|at| zip[*at..].starts_with(old)).collect();
    for at in places {
        zip[at..at + new.len()].copy_from_slice(new);
    }
    zip.into()
}

#[test]
fn an_ordinary_zip_is_taken() {
    let zip = zip_of(&[("w.wdl", SOURCE.as_bytes()), ("sub/t.wdl", b"x"), ("README.md", b"hi")]);
    let definition = check(&zip).unwrap();
    assert_eq!(definition.files, ["w.wdl", "sub/t.wdl", "README.md"]);
    assert_eq!(definition.sources[0], ("w.wdl".into(), SOURCE.into()));
}

#[test]
fn names_that_leave_or_clash_are_refused() {
    for name in
        ["../evil.wdl", "a/../../b", "/etc/passwd", "a\\b.wdl", "C:evil", "a//b", "./a", "a\0b"]
    {
        let message = refusal(&renamed(name));
        assert!(message.contains("illegal name"), "{name:?}: {message}");
    }
    assert!(refusal(&zip_of(&[("A.wdl", b""), ("a.wdl", b"")])).contains("but for case"));
    let twice = replace_all(&zip_of(&[("aaaa", b""), ("bbbb", b"")]), b"bbbb", b"aaaa");
    check(&twice).unwrap_err();
    assert!(refusal(&zip_of(&[("d", b""), ("d/x", b"")])).contains("as a file and as a directory"));
    let deep = format!("{}x", "d/".repeat(DEPTH_MAX));
    assert!(refusal(&zip_of(&[(&deep, b"")])).contains("too deep"));
}

#[test]
fn links_and_devices_are_refused() {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.add_symlink("link", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    let zip = writer.finish().unwrap().into_inner().into();
    assert!(refusal(&zip).contains("link or device"));
}

#[test]
fn bombs_are_refused_before_they_are_unpacked() {
    let zeros = vec![0; 8 << 20];
    assert!(refusal(&zip_of(&[("a.wdl", &zeros)])).contains("unpacks to more"));
    let repeated = "# a comment\n".repeat(20_000);
    check(&zip_of(&[("a.wdl", repeated.as_bytes())])).unwrap();
}

#[test]
fn two_names_of_one_entry_are_refused() {
    let zip = zip_of(&[("good.wdl", SOURCE.as_bytes())]);
    let mut zip = zip.to_vec();
    zip[30..38].copy_from_slice(b"evil.wdl");
    assert!(refusal(&zip.into()).contains("two names"));
}

#[test]
fn damage_is_an_error_and_never_a_panic() {
    let zip = zip_of(&[("w.wdl", SOURCE.as_bytes()), ("b.txt", &[7; 3000])]);
    for end in 0..zip.len() {
        check(&zip.slice(..end)).unwrap_err();
    }
    for at in 0..zip.len() {
        let mut damaged = zip.to_vec();
        damaged[at] ^= 0x5A;
        let _ = check(&damaged.into());
    }
    check(&Bytes::from_static(b"PK..")).unwrap_err();
    check(&zip_of(&[])).unwrap_err();
}
