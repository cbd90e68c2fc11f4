//! What an engine asks to be bound into a task, opened so that it can't be swapped or lead outside.

use std::{
    fs::{self, File},
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
};

use nix::{errno::Errno, fcntl::OFlag, sys::stat::fstat};
use readvault_exec_protocol::run::InputSpec;

use super::{
    context::Run,
    files::WORKFLOW,
    root::{PreparedBind, make_one},
};
use crate::{
    fault::{FailureReason, Fault},
    shim_protocol::Bind,
};

/// Where nothing may be bound over.
const RESERVED: [&str; 4] = ["/proc", "/sys", "/dev", "/run/rv"];

/// Names under which engines keep a task's output.
const OUTPUT_NAMES: [&str; 2] = ["stdout.txt", "stderr.txt"];

/// Opens a bind's source beneath the run and checks its target.
///
/// # Errors
/// When either is not acceptable; the message names the bind.
pub(super) fn prepare(run: &Run, wanted: &Bind) -> Result<PreparedBind, Fault> {
    let refuse = |why: String| Fault::new(FailureReason::WorkflowRunFailed, why);
    let target = &wanted.target;
    let clean = target.starts_with('/') && target.split('/').all(|part| part != "..");
    if !clean || target.trim_end_matches('/').is_empty() || target.contains('\0') {
        return Err(refuse(format!("{target:?} is no place for a bind in a container")));
    }
    if RESERVED.iter().any(|place| within(target, place)) {
        return Err(refuse(format!("a bind over {target} is not allowed")));
    }
    let outside = || {
        refuse(format!("a bind of {}, which is outside of the run, is not allowed", wanted.source))
    };
    if !within(&wanted.source, WORKFLOW) {
        return Err(outside());
    }
    let own = within(&wanted.source, &run.files.work_seen())
        && wanted.source.split('/').all(|part| part != "..");
    let source = match run.files.open_seen(&wanted.source, OFlag::O_PATH) {
        Ok(source) => source,
        Err(Errno::ENOENT) if wanted.create && own => make_source(run, &wanted.source)?,
        Err(Errno::ENOENT | Errno::EXDEV | Errno::ELOOP) => return Err(outside()),
        Err(errno) => return Err(refuse(format!("binding {}: {errno}", wanted.source))),
    };
    let readonly = wanted.readonly || !within(&wanted.source, &run.files.work_seen());
    Ok(PreparedBind { source, target: target.clone(), readonly })
}

/// Whether `path` is `place` or below it, as text.
fn within(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Makes a missing directory in the work directory, as docker does for `-v`.
fn make_source(run: &Run, path: &str) -> Result<OwnedFd, Fault> {
    let refuse = |why: Errno| {
        Fault::new(FailureReason::WorkflowRunFailed, format!("making {path} for a bind: {why}"))
    };
    let (parent, name) = path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path));
    if !within(parent, &run.files.work_seen()) || matches!(name, "" | "." | "..") {
        return Err(refuse(Errno::EPERM));
    }
    let opened = match run.files.open_seen(parent, OFlag::O_PATH | OFlag::O_DIRECTORY) {
        Ok(opened) => opened,
        Err(Errno::ENOENT) => make_source(run, parent)?,
        Err(errno) => return Err(refuse(errno)),
    };
    match make_one(&opened, name, true, run.files.uid) {
        Err(Errno::EEXIST) => {
            let message = format!("a bind of {path}, a link to outside of the run, is not allowed");
            return Err(Fault::new(FailureReason::WorkflowRunFailed, message));
        }
        done => done.map_err(refuse)?,
    }
    run.files.open_seen(path, OFlag::O_PATH | OFlag::O_DIRECTORY).map_err(refuse)
}

/// Indexes of the inputs that a bind shows: observed from where the descriptor leads.
pub(super) fn inputs_shown(run: &Run, bind: &PreparedBind) -> Vec<u32> {
    let link = format!("/proc/self/fd/{}", bind.source.as_raw_fd());
    let Ok(real) = fs::read_link(link) else { return Vec::new() };
    let root = run.files.view().join("mnt/workflow/in");
    let Ok(below) = real.strip_prefix(&root) else { return Vec::new() };
    let shows =
        |input: &InputSpec| PathBuf::from(&input.digest).join(&input.name).starts_with(below);
    let indexed = run.spec.inputs.iter().enumerate();
    indexed.filter(|(_, input)| shows(input)).filter_map(|(i, _)| u32::try_from(i).ok()).collect()
}

/// The files among `binds` that hold a task's output while it runs: standard output, standard error.
pub(super) fn output_files(binds: &[PreparedBind]) -> Vec<(&'static str, File)> {
    let mut found = Vec::new();
    for bind in binds {
        let name = bind.target.rsplit('/').next().unwrap_or_default();
        let Some(name) = OUTPUT_NAMES.into_iter().find(|known| *known == name) else { continue };
        let raw = bind.source.as_raw_fd();
        let regular = fstat(raw).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFREG);
        if regular && let Ok(file) = File::open(format!("/proc/self/fd/{raw}")) {
            found.push((name, file));
        }
    }
    found
}
