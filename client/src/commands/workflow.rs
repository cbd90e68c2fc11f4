//! `readvault workflow`: registers definitions.

use std::{
    io::{Cursor, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use base64::Engine;
use reqwest::Method;
use serde_json::{Value, json};
use zip::{ZipWriter, write::SimpleFileOptions};

use super::{Output, list_get, table, text};
use crate::{
    fault::{Exit, Fault, Result},
    session::Session,
};

/// Most files of a definition.
const FILES_MAX: usize = 10_000;

/// Registers the workflow at `definition` and waits until it is ACTIVE.
///
/// # Errors
/// `Usage` when the definition can't be read or the server refuses it, with its reason.
pub async fn create(
    session: &Session,
    definition: &Path,
    (name, main): (Option<String>, Option<&str>),
    output: Output,
) -> Result<()> {
    let stem = definition.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let zipped = zipped(definition)?;
    let request =
        uuid::Builder::from_random_bytes(readvault_ambient::random(&readvault_ambient::System));
    let mut body = json!({
        "name": name.unwrap_or(stem),
        "definitionZip": base64::engine::general_purpose::STANDARD.encode(zipped),
        "requestId": request.into_uuid().to_string(),
    });
    if let Some(main) = main {
        body["main"] = main.into();
    }
    let made = session.omics(Method::POST, "/workflow", Some(&body)).await?;
    let target = format!("/workflow/{}", text(&made, "id"));
    loop {
        let workflow = session.omics(Method::GET, &target, None).await?;
        match text(&workflow, "status") {
            "CREATING" => tokio::time::sleep(Duration::from_millis(200)).await,
            "FAILED" => return Err(Fault::usage(text(&workflow, "statusMessage"))),
            _ => {
                output.item(&workflow, |workflow| text(workflow, "id").to_owned());
                return Ok(());
            }
        }
    }
}

/// The definition as a zip: a zip as it is, a file alone, a directory with all that it holds.
fn zipped(definition: &Path) -> Result<Vec<u8>> {
    let file = |path: &Path| std::fs::read(path).map_err(|cause| Fault::file(path, &cause));
    if definition.extension().is_some_and(|extension| extension == "zip") {
        return file(definition);
    }
    let mut files = Vec::new();
    if definition.is_dir() {
        collect(definition, &mut files)?;
    } else {
        files.push(definition.to_owned());
    }
    let root =
        if definition.is_dir() { definition } else { definition.parent().unwrap_or(definition) };
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for path in files {
        let inside = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        let bytes = file(&path)?;
        writer
            .start_file(inside, SimpleFileOptions::default())
            .and_then(|()| Ok(writer.write_all(&bytes)?))
            .map_err(|cause| Fault::usage(format!("{}: {cause}", path.display())))?;
    }
    let done = writer.finish().map_err(|cause| Fault::usage(cause.to_string()))?;
    Ok(done.into_inner())
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(directory).map_err(|cause| Fault::file(directory, &cause))?;
    for entry in entries {
        let entry = entry.map_err(|cause| Fault::file(directory, &cause))?;
        let kind = entry.file_type().map_err(|cause| Fault::file(&entry.path(), &cause))?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if kind.is_dir() {
            collect(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
        if files.len() > FILES_MAX {
            return Err(Fault::new(Exit::Usage, format!("more than {FILES_MAX} files")));
        }
    }
    files.sort();
    Ok(())
}

/// Lists workflows.
///
/// # Errors
/// Those of the server.
pub async fn ls(session: &Session, output: Output) -> Result<()> {
    let workflows = list_get(session, "/workflow", "&type=PRIVATE").await?;
    if output.json {
        workflows.iter().for_each(|workflow| println!("{workflow}"));
        return Ok(());
    }
    let mut rows = vec![vec!["ID".into(), "NAME".into(), "STATUS".into()]];
    let row = |w: &Value| ["id", "name", "status"].map(|member| text(w, member).into()).to_vec();
    rows.extend(workflows.iter().map(row));
    println!("{}", table(&rows));
    Ok(())
}
