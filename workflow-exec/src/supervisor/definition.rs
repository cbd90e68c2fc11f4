//! Unpacks a workflow definition: a zip from people, so every name and size in it is suspect.

use std::{
    fs,
    io::{self, Read, Seek},
    path::{Component, Path, PathBuf},
};

use crate::fault::{FailureReason, Fault};

/// Most entries of a definition.
pub(super) const ENTRIES_MAX: usize = 10_000;

/// Most bytes of a definition, unpacked.
pub(super) const BYTES_MAX: u64 = 256 << 20;

fn refuse(message: impl Into<String>) -> Fault {
    Fault::new(FailureReason::WorkflowRunFailed, message)
}

/// Unpacks `zip` into the empty directory `target`.
///
/// # Errors
/// When the archive is malformed, an entry's name is absolute or has `..`, an entry is no plain file or
/// directory, two entries have one name, or a limit is passed. `target` is then to be dropped.
pub(super) fn unpack(zip: impl Read + Seek, target: &Path) -> Result<(), Fault> {
    let mut archive = zip::ZipArchive::new(zip)
        .map_err(|cause| refuse(format!("the workflow definition is no zip: {cause}")))?;
    if archive.len() > ENTRIES_MAX {
        return Err(refuse(format!("the workflow definition has over {ENTRIES_MAX} entries")));
    }
    let mut budget = BYTES_MAX;
    for index in 0..archive.len() {
        let mut entry = archive
            .by_index(index)
            .map_err(|cause| refuse(format!("entry {index} of the definition: {cause}")))?;
        let path = target.join(safe_name(entry.name())?);
        let kind = entry.unix_mode().unwrap_or(0) & libc::S_IFMT;
        if kind != 0 && kind != libc::S_IFREG && kind != libc::S_IFDIR {
            return Err(refuse(format!("entry {index} of the definition is no plain file")));
        }
        if entry.is_dir() {
            fs::create_dir_all(&path).map_err(|cause| write_fault(index, &cause))?;
            continue;
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|cause| write_fault(index, &cause))?;
        }
        let mut file = fs::File::create_new(&path).map_err(|cause| write_fault(index, &cause))?;
        let copied = io::copy(&mut (&mut entry).take(budget + 1), &mut file)
            .map_err(|cause| write_fault(index, &cause))?;
        budget = budget.checked_sub(copied).ok_or_else(|| {
            refuse(format!("the workflow definition is over {BYTES_MAX} bytes unpacked"))
        })?;
    }
    Ok(())
}

fn write_fault(index: usize, cause: &io::Error) -> Fault {
    match super::files::no_room(cause) {
        FailureReason::ServiceError => {
            refuse(format!("entry {index} of the definition can't be unpacked: {cause}"))
        }
        reason => Fault::new(reason, "no room for the workflow definition"),
    }
}

/// The entry's name as a relative path, if it stays below where it is put.
///
/// # Errors
/// When it is empty, absolute, or has `..`, a backslash or a zero byte.
pub(super) fn safe_name(name: &str) -> Result<PathBuf, Fault> {
    let bad = || refuse(format!("the definition has an entry with the unsafe name {name:?}"));
    if name.is_empty() || name.contains(['\\', '\0']) {
        return Err(bad());
    }
    let mut path = PathBuf::new();
    for part in Path::new(name).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            _ => return Err(bad()),
        }
    }
    if path.as_os_str().is_empty() { Err(bad()) } else { Ok(path) }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use zip::write::SimpleFileOptions;

    use super::*;

    fn archive(entries: &[(&str, &[u8])]) -> Cursor<Vec<u8>> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in entries {
            writer.start_file(*name, SimpleFileOptions::default()).expect("begun");
            writer.write_all(bytes).expect("written");
        }
        writer.finish().expect("finished")
    }

    #[test]
    fn unpacks_what_is_plain() {
        let dir = tempfile::tempdir().expect("a directory");
        unpack(archive(&[("main.wdl", b"x"), ("lib/a.wdl", b"y")]), dir.path()).expect("unpacked");
        assert_eq!(fs::read(dir.path().join("lib/a.wdl")).expect("there"), b"y");
    }

    #[test]
    fn refuses_names_that_climb() {
        for name in ["../x", "a/../../x", "/etc/x", "a\\..\\x"] {
            let dir = tempfile::tempdir().expect("a directory");
            let inside = dir.path().join("in");
            fs::create_dir(&inside).expect("made");
            let fault = unpack(archive(&[(name, b"x")]), &inside).expect_err("refused");
            assert!(fault.message.contains("unsafe name"), "{fault}");
            assert_eq!(fs::read_dir(dir.path()).expect("read").count(), 1, "{name}");
        }
    }

    #[test]
    fn refuses_links_and_noise() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        writer.add_symlink("l", "/etc", SimpleFileOptions::default()).expect("added");
        let zip = writer.finish().expect("finished");
        assert!(unpack(zip, dir.path()).expect_err("refused").message.contains("plain file"));
        assert!(unpack(Cursor::new(b"PK nothing".to_vec()), dir.path()).is_err());
        let good = archive(&[("main.wdl", b"x")]).into_inner();
        for cut in 0..good.len() {
            let dir = tempfile::tempdir().expect("a directory");
            assert!(unpack(Cursor::new(good[..cut].to_vec()), dir.path()).is_err());
        }
    }
}
