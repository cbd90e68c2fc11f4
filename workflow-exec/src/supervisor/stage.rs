//! Brings a run's inputs and definition into its file system.

use std::{
    fs::{self, File},
    io::{Cursor, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use readvault_exec_protocol::run::{
    InputSpec, READ_BYTES_MAX, RunReply, RunRequest, RunSpec, Staging,
};
use sha2::{Digest, Sha256};

use super::{
    definition,
    files::{RunFiles, WORKFLOW, no_room},
    session::Session,
};
use crate::fault::{Because, Doing, FailureReason, Fault};

/// Most bytes of a definition zip.
const DEFINITION_BYTES_MAX: u64 = 64 << 20;

/// Seconds since 1970 that every input shows, so that no index is older than its data.
const INPUT_TIME: Duration = Duration::from_secs(1_000_000_000);

/// Whether an input is streamed into the run's tmpfs (or served by the mount process).
pub(super) fn in_memory(input: &InputSpec, memory_bytes: u64) -> bool {
    match input.staging {
        Staging::Tmpfs => true,
        Staging::Mount => false,
        Staging::Auto => input.length <= memory_bytes / 4,
    }
}

/// The path of an input as containers see it.
pub(super) fn seen_path(input: &InputSpec) -> String {
    format!("{WORKFLOW}/in/{}/{}", input.digest, input.name)
}

/// One component of a path that can't mean anything else.
fn plain(component: &str) -> bool {
    !component.is_empty()
        && component.len() <= 255
        && !matches!(component, "." | "..")
        && !component.contains(['/', '\0'])
}

/// The path of an input below the directory of inputs.
///
/// # Errors
/// When its name or digest is no plain component of a path.
pub(super) fn relative_path(input: &InputSpec) -> Result<PathBuf, Fault> {
    if plain(&input.name) && plain(&input.digest) {
        return Ok(Path::new(&input.digest).join(&input.name));
    }
    Err(Fault::new(FailureReason::ImportFailed, "an input has an unusable name"))
}

/// Fetches the definition, checks its digest and unpacks it.
///
/// # Errors
/// When the server does not give it, its digest differs or it is not acceptable.
pub(super) async fn definition(
    session: &Session,
    spec: &RunSpec,
    files: &RunFiles,
) -> Result<(), Fault> {
    if spec.definition_bytes > DEFINITION_BYTES_MAX {
        return Err(Fault::new(
            FailureReason::ImportFailed,
            "the workflow definition is too large",
        ));
    }
    let mut zip = Vec::new();
    while (zip.len() as u64) < spec.definition_bytes {
        let left = spec.definition_bytes - zip.len() as u64;
        let length = READ_BYTES_MAX.min(u32::try_from(left).unwrap_or(u32::MAX));
        let request = RunRequest::Definition { offset: zip.len() as u64, length };
        let bytes = data(session, &request).await.because(FailureReason::ImportFailed)?;
        if bytes.len() != length as usize {
            return Err(Fault::new(
                FailureReason::ImportFailed,
                "the workflow definition is cut off",
            ));
        }
        zip.extend_from_slice(&bytes);
    }
    if !spec.definition_sha256.eq_ignore_ascii_case(&hex::encode(Sha256::digest(&zip))) {
        let message = "the workflow definition does not have its recorded digest";
        return Err(Fault::new(FailureReason::ImportFailed, message));
    }
    let target = files.definition();
    tokio::task::spawn_blocking(move || {
        definition::unpack(Cursor::new(zip), &target)?;
        open_to_all(&target).doing("the definition's modes")
    })
    .await
    .doing("a thread")?
}

/// The umask of a supervisor is tight; what containers read must be readable to them.
fn open_to_all(dir: &Path) -> std::io::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_to_all(&entry.path())?;
        } else {
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o444))?;
        }
    }
    Ok(())
}

/// Streams the input at `index` into the run's tmpfs.
///
/// # Errors
/// When the server does not give all of it or there is no room.
pub(super) async fn input(
    session: &Session,
    files: &RunFiles,
    index: u32,
    input: &InputSpec,
) -> Result<(), Fault> {
    let path = files.inputs().join(relative_path(input)?);
    let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
    fs::create_dir_all(&parent).doing("making an input's directory")?;
    fs::set_permissions(&parent, fs::Permissions::from_mode(0o755)).doing("its mode")?;
    if path.exists() {
        // The same content under the same name: two URIs of one read set.
        return Ok(());
    }
    let mut file = File::create_new(&path).doing("making an input")?;
    let mut offset = 0;
    while offset < input.length {
        let left = input.length - offset;
        let length = READ_BYTES_MAX.min(u32::try_from(left).unwrap_or(u32::MAX));
        let request = RunRequest::Read { input: index, offset, length };
        let bytes = data(session, &request).await.because(FailureReason::ImportFailed)?;
        if bytes.len() != length as usize {
            let message = format!("input {index} is cut off at {offset} of {}", input.length);
            return Err(Fault::new(FailureReason::ImportFailed, message));
        }
        file.write_all(&bytes).map_err(|cause| {
            let message = format!("input {index} at {offset}: {cause}");
            Fault::new(no_room(&cause), message)
        })?;
        offset += u64::from(length);
    }
    file.set_permissions(fs::Permissions::from_mode(0o444)).doing("an input's mode")?;
    file.set_modified(UNIX_EPOCH + INPUT_TIME).doing("an input's time")
}

/// Lets the run's uids into the directory of inputs.
///
/// # Errors
/// When its mode can't be set.
pub(super) fn open_inputs(files: &RunFiles) -> Result<(), Fault> {
    fs::set_permissions(files.inputs(), fs::Permissions::from_mode(0o755)).doing("its mode")
}

async fn data(session: &Session, request: &RunRequest) -> Result<bytes::Bytes, Fault> {
    match session.ask(request, &[]).await? {
        (RunReply::Data, bytes) => Ok(bytes),
        _ => Err(Fault::service("the server answered something else than bytes")),
    }
}
