//! Exports what the workflow declares as its outputs, once no writer lives any more.

use std::{
    fs::File,
    io::Read,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};

use nix::{fcntl::OFlag, sys::stat::fstat};
use readvault_exec_protocol::run::{RunReply, RunRequest};
use serde_json::{Map, Value, json};

use super::{context::Run, engine};
use crate::fault::{Because, Doing, FailureReason, Fault};

/// Most bytes of the engine's output document.
const DOCUMENT_BYTES_MAX: u64 = 16 << 20;

/// Most outputs of a run.
const OUTPUTS_MAX: usize = 100_000;

/// Bytes of one piece of an output.
const PIECE: usize = 1 << 20;

/// How often an output is begun anew when the connection breaks.
const TRIES: usize = 3;

/// An output file: where the engine says it is, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Export {
    /// Path as the engine sees it.
    pub source: String,
    /// Path below the run's output prefix.
    pub path: String,
}

/// Reads the engine's output document and streams every file in it, and the engine's log, to the server.
/// Gives the document with `{"$output": path}` in the place of files.
///
/// # Errors
/// When a file is not a plain one of the run, or the server does not take it.
pub(super) async fn collect(run: &Run) -> Result<Value, Fault> {
    let path = format!("{}/outputs.json", engine::run_dir(run));
    let file = open_plain(run, &path)?;
    let mut text = Vec::new();
    file.take(DOCUMENT_BYTES_MAX + 1)
        .read_to_end(&mut text)
        .doing("reading the engine's outputs")
        .because(FailureReason::ExportFailed)?;
    if text.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(Fault::new(FailureReason::ExportFailed, "the engine's outputs are too many"));
    }
    let document = serde_json::from_slice(&text)
        .doing("the engine's output document")
        .because(FailureReason::ExportFailed)?;
    let links = format!("{}/out/", engine::run_dir(run));
    let (document, exports) = plan(&document, &links)?;
    for export in &exports {
        let opened = open_plain(run, &export.source)?;
        send(run, &export.path, opened).await?;
    }
    let log = File::open(run.files.control("engine.log")).doing("opening the engine's log")?;
    send(run, "logs/engine.log", log).await?;
    Ok(document)
}

/// Decides which strings of an output document are files (those below `links`) and where they go:
/// `out/NAME/FILE`, below arrays `out/NAME/INDEX/FILE`.
///
/// # Errors
/// When there are too many, or a name can't be one of an object.
pub(super) fn plan(document: &Value, links: &str) -> Result<(Value, Vec<Export>), Fault> {
    let mut exports = Vec::new();
    let Value::Object(outputs) = document else {
        return Err(Fault::new(FailureReason::ExportFailed, "the engine gave no outputs"));
    };
    let mut planned = Map::new();
    for (key, value) in outputs {
        let name = key.split_once('.').map_or(key.as_str(), |(_, name)| name);
        let place = format!("out/{}", component(name)?);
        planned.insert(key.clone(), walk(value, links, &place, &mut exports)?);
    }
    Ok((Value::Object(planned), exports))
}

fn walk(
    value: &Value,
    links: &str,
    place: &str,
    exports: &mut Vec<Export>,
) -> Result<Value, Fault> {
    match value {
        Value::String(text) if text.starts_with(links) => {
            if exports.len() >= OUTPUTS_MAX {
                return Err(Fault::new(
                    FailureReason::ExportFailed,
                    "the run has too many outputs",
                ));
            }
            let name = text.rsplit('/').next().unwrap_or_default();
            let path = format!("{place}/{}", component(name)?);
            exports.push(Export { source: text.clone(), path: path.clone() });
            Ok(json!({ "$output": path }))
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            let walked: Result<Vec<Value>, Fault> = items
                .map(|(index, item)| walk(item, links, &format!("{place}/{index}"), exports))
                .collect();
            Ok(Value::Array(walked?))
        }
        Value::Object(fields) => {
            let mut walked = Map::new();
            for (index, (key, field)) in fields.iter().enumerate() {
                let name = component(key).map_or_else(|_| index.to_string(), str::to_owned);
                let inner = walk(field, links, &format!("{place}/{name}"), exports)?;
                walked.insert(key.clone(), inner);
            }
            Ok(Value::Object(walked))
        }
        other => Ok(other.clone()),
    }
}

/// `name`, if it can be one component of an object's key.
fn component(name: &str) -> Result<&str, Fault> {
    let bad = name.is_empty()
        || name.len() > 255
        || matches!(name, "." | "..")
        || name.contains('/')
        || name.chars().any(char::is_control);
    if bad {
        let message = format!("an output has the unusable name {name:?}");
        return Err(Fault::new(FailureReason::ExportFailed, message));
    }
    Ok(name)
}

/// Opens a regular file of the run; nothing else, and never waits for one.
fn open_plain(run: &Run, path: &str) -> Result<File, Fault> {
    let refuse = |why: &str| {
        let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned();
        Fault::new(FailureReason::ExportFailed, format!("the output {name:?} {why}"))
    };
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let opened: OwnedFd = run
        .files
        .open_seen(path, flags)
        .map_err(|errno| refuse(&format!("can't be opened beneath the run: {errno}")))?;
    let stat = fstat(opened.as_raw_fd()).doing("looking at an output")?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(refuse("is not a regular file"));
    }
    Ok(File::from(opened))
}

async fn send(run: &Run, path: &str, mut file: File) -> Result<(), Fault> {
    use std::io::{Seek, SeekFrom};
    let mut last = Fault::new(FailureReason::ExportFailed, "an output was not sent");
    for _ in 0..TRIES {
        file.seek(SeekFrom::Start(0)).doing("reading an output")?;
        match send_once(run, path, &mut file).await {
            Ok(()) => return Ok(()),
            Err(fault) => last = fault,
        }
        if run.end.borrow().is_some() {
            break;
        }
    }
    Err(last).because(FailureReason::ExportFailed)
}

async fn send_once(run: &Run, path: &str, file: &mut File) -> Result<(), Fault> {
    run.session.tell(&RunRequest::OutputBegin { path: path.to_owned() }, &[]).await?;
    let mut piece = vec![0; PIECE];
    let mut sent = 0;
    loop {
        let length = file.read(&mut piece).doing("reading an output")?;
        if length == 0 {
            break;
        }
        run.session.ask_once(&RunRequest::OutputData, &piece[..length]).await?;
        sent += length as u64;
    }
    match run.session.ask_once(&RunRequest::OutputEnd, &[]).await? {
        (RunReply::Output { length, .. }, _) if length == sent => Ok(()),
        _ => Err(Fault::service("the server does not have all of an output")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_where_healthomics_puts_them() {
        let document = json!({
            "w.one": "/r/out/one/a.bam",
            "w.many": ["/r/out/many/0/x", "/r/out/many/1/x"],
            "w.text": "/etc/passwd",
            "w.pair": { "left": "/r/out/p/l", "right": 3 },
            "w.none": null,
        });
        let (planned, exports) = plan(&document, "/r/out/").expect("a plan");
        let paths: Vec<&str> = exports.iter().map(|export| export.path.as_str()).collect();
        assert_eq!(paths, ["out/one/a.bam", "out/many/0/x", "out/many/1/x", "out/pair/left/l"]);
        assert_eq!(planned["w.text"], "/etc/passwd");
        assert_eq!(planned["w.many"][1]["$output"], "out/many/1/x");
    }

    #[test]
    fn unusable_names_are_refused() {
        for name in ["..", "", "a\nb"] {
            let document = json!({ "w.x": format!("/r/out/x/{name}") });
            assert!(plan(&document, "/r/out/").is_err(), "{name:?}");
        }
    }
}
