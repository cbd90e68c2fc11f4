//! The engine: existing software from an image, in a container as tight as a task's.
//!
//! It sees its work directory, inputs, definition and configuration, and the run's socket at `/run/rv`,
//! which is outside of everything that it may bind into a task. Its `docker` is our shim.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
};

use readvault_exec_protocol::{agent::Language, run::LogName};
use serde_json::Value;
use tokio::io::AsyncReadExt;

use super::{
    container::{Container, ContainerPlan, lost_helper},
    context::{EndCause, ResolvedImage, Run, resolved},
    files::{WORKFLOW, bind},
    logs::LineCutter,
    root::PreparedBind,
    stage,
    task::run_environment,
};
use crate::{
    cgroup::{Limits, TASK_PIDS_MAX},
    fault::{Because, Doing, FailureReason, Fault},
    sandbox::Status,
};

/// Bytes of memory of an engine, beside what it writes to the run's tmpfs.
pub(super) const MEMORY_BYTES: u64 = 512 << 20;

/// Most bytes of an engine's log that are exported.
const LOG_BYTES_MAX: u64 = 64 << 20;

/// How often the use of the run's tmpfs is noted.
const LOOK: std::time::Duration = std::time::Duration::from_millis(500);

/// Where the engine finds the shim.
const SHIM: &str = "/opt/rv";

/// How an engine ended.
#[derive(Debug)]
pub(super) struct EngineEnd {
    /// Exit code; none when it was ended from outside.
    pub code: Option<i32>,
    /// What it said last.
    pub last_lines: String,
    /// Whether memory ended a process of it.
    pub out_of_memory: bool,
}

/// The engine of this run's language.
///
/// # Errors
/// When this node has none, or its language is not built yet.
pub(super) fn find(run: &Run) -> Result<ResolvedImage, Fault> {
    if run.spec.language != Language::Wdl {
        let message = "only WDL workflows can be run by this version";
        return Err(Fault::new(FailureReason::WorkflowRunFailed, message));
    }
    let record = run.images.engine(run.spec.language).doing("looking for the engine")?;
    let record = record.ok_or_else(|| {
        Fault::service("no WDL engine on this node; add one with `readvaultd engine add wdl`")
    })?;
    resolved(&run.images, &record.digest)
}

/// The engine's input document: every `{"$input": n}` becomes the path of that input.
///
/// # Errors
/// When an index names no input.
pub(super) fn parameters(run: &Run) -> Result<Value, Fault> {
    let mut document = run.spec.parameters.clone();
    let paths: Vec<String> = run.spec.inputs.iter().map(stage::seen_path).collect();
    substitute(&mut document, &paths)?;
    Ok(document)
}

fn substitute(value: &mut Value, paths: &[String]) -> Result<(), Fault> {
    match value {
        Value::Object(fields) if fields.len() == 1 && fields.contains_key("$input") => {
            let index = fields["$input"].as_u64().and_then(|index| usize::try_from(index).ok());
            let path = index.and_then(|index| paths.get(index)).ok_or_else(|| {
                Fault::new(FailureReason::ImportFailed, "a parameter names no input of the run")
            })?;
            *value = Value::String(path.clone());
        }
        Value::Object(fields) => {
            for (_, field) in fields.iter_mut() {
                substitute(field, paths)?;
            }
        }
        Value::Array(items) => {
            for item in items {
                substitute(item, paths)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Where the engine writes, as it sees it.
pub(super) fn run_dir(run: &Run) -> String {
    format!("{}/run", run.files.work_seen())
}

/// Starts the engine.
///
/// # Errors
/// When its container can't be made.
pub(super) fn start(run: &Run, image: &ResolvedImage) -> Result<Container, Fault> {
    configure(run)?;
    install_shim(run)?;
    let open = |path: &Path| File::open(path).doing("opening an engine's directory");
    let work_seen = run.files.work_seen();
    let mut binds = Vec::new();
    for (path, target, readonly) in [
        (run.files.view().join(work_seen.trim_start_matches('/')), work_seen.as_str(), false),
        (run.files.view().join("mnt/workflow/in"), "/mnt/workflow/in", true),
        (run.files.view().join("mnt/workflow/definition"), "/mnt/workflow/definition", true),
        (run.files.control("engine"), "/mnt/workflow/engine", true),
        (run.files.control("socket"), "/run/rv", true),
        (run.files.control("shim"), SHIM, true),
    ] {
        binds.push(PreparedBind {
            source: open(&path)?.into(),
            target: target.to_owned(),
            readonly,
        });
    }
    let plan = ContainerPlan {
        id: "engine".to_owned(),
        image: image.tree.clone(),
        argv: command(run),
        env: environment(run, image),
        cwd: work_seen,
        binds,
        cgroup: run.group.child("engine"),
        limits: Limits {
            memory_bytes: Some(MEMORY_BYTES + run.spec.resources.scratch_bytes),
            cpus: None,
            pids: Some(TASK_PIDS_MAX),
        },
        shm_bytes: 64 << 20,
        stdin: false,
    };
    Container::start(&run.files, &plan).because(FailureReason::ServiceError)
}

/// miniwdl's own entry, with its count of cores made before the first task: two tasks that start together
/// would otherwise both make it, and the later one forgets what the earlier one holds (an assertion of
/// `cli_subprocess` in 1.16 then fails the run).
const MINIWDL: &str = "\
import logging
from WDL import CLI
from WDL.runtime.backend.podman import PodmanContainer
PodmanContainer.detect_resource_limits(None, logging.getLogger('readvault'))
CLI.main()";

/// Starts miniwdl by [`MINIWDL`] where the image has Python, else by its name.
const START: &str =
    r#"command -v python3 >/dev/null && exec python3 -c "$0" "$@"; exec miniwdl "$@""#;

fn command(run: &Run) -> Vec<String> {
    let main = format!("{WORKFLOW}/definition/{}", run.spec.main);
    // `DIR/.` means this very directory, not one with a time stamp below it.
    let dir = format!("{}/.", run_dir(run));
    let input = format!("{WORKFLOW}/engine/inputs.json");
    let command =
        ["/bin/sh", "-c", START, MINIWDL, "run", "--no-color", "--dir", &dir, "-i", &input];
    command.map(str::to_owned).into_iter().chain([main]).collect()
}

fn environment(run: &Run, image: &ResolvedImage) -> Vec<(String, String)> {
    let mut env =
        vec![("HOME".to_owned(), "/tmp".to_owned()), ("LANG".to_owned(), "C.UTF-8".to_owned())];
    env.extend(image.env.iter().filter(|(name, _)| name != "PATH").cloned());
    let known = image.env.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path.as_str());
    let known = known.unwrap_or("/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
    env.push(("PATH".to_owned(), format!("{SHIM}/bin:{known}")));
    env.push(("MINIWDL_CFG".to_owned(), format!("{WORKFLOW}/engine/miniwdl.cfg")));
    env.extend(run_environment(run));
    env
}

/// Asking for privilege is let through to the shim, which refuses it by name; miniwdl would drop it.
fn configure(run: &Run) -> Result<(), Fault> {
    let dir = run.files.control("engine");
    let all = run.spec.resources;
    let configuration = format!(
        "[scheduler]\ncontainer_backend = podman\ntask_concurrency = {cpus}\n\
         [podman]\nexe = [\"{SHIM}/bin/podman\"]\n\
         [file_io]\nroot = {WORKFLOW}\nallow_any_input = false\nchown = false\n\
         [task_runtime]\nallow_privileged = true\nmemory_limit_multiplier = 1.0\ncpu_max = {cpus}\nmemory_max = {memory}\n",
        cpus = all.cpus,
        memory = all.memory_bytes,
    );
    let inputs =
        serde_json::to_vec_pretty(&parameters(run)?).doing("writing the engine's inputs")?;
    for (name, bytes) in [("miniwdl.cfg", configuration.into_bytes()), ("inputs.json", inputs)] {
        put(&dir.join(name), &bytes, 0o444)?;
    }
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).doing("the engine's directory")
}

/// Shows the engine this very program, with the loader and libraries that it runs with here, so that
/// it needs nothing of the engine's image but a shell.
fn install_shim(run: &Run) -> Result<(), Fault> {
    let dir = run.files.control("shim");
    for name in ["bin", "lib"] {
        fs::create_dir_all(dir.join(name)).doing("making the shim's directories")?;
    }
    let program = fs::read_link("/proc/self/exe").doing("finding this program")?;
    show(&program, &dir.join("bin/readvault-exec"))?;
    let maps = fs::read_to_string("/proc/self/maps").doing("reading this process's map")?;
    let mut loader = None;
    let mut shown = Vec::new();
    for path in maps.lines().filter_map(|line| line.split_whitespace().nth(5)) {
        let Some(name) = Path::new(path).file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if !name.contains(".so") || shown.contains(&name.to_owned()) {
            continue;
        }
        // The name by which programs ask for it, not the file behind that link.
        show(Path::new(path), &dir.join("lib").join(soname(path, name)))?;
        if name.starts_with("ld-") {
            loader = Some(soname(path, name));
        }
        shown.push(name.to_owned());
    }
    let run_it = loader.map_or_else(String::new, |loader| {
        format!("{SHIM}/lib/{loader} --library-path {SHIM}/lib ")
    });
    let script = format!("#!/bin/sh\nexec {run_it}{SHIM}/bin/readvault-exec shim \"$@\"\n");
    for name in ["docker", "podman"] {
        put(&dir.join("bin").join(name), script.as_bytes(), 0o555)?;
    }
    for name in [dir.clone(), dir.join("bin"), dir.join("lib")] {
        fs::set_permissions(name, fs::Permissions::from_mode(0o755)).doing("the shim's modes")?;
    }
    Ok(())
}

/// `libseccomp.so.2.5.4` is asked for as `libseccomp.so.2`.
fn soname(path: &str, name: &str) -> String {
    if name.starts_with("ld-") {
        return name.to_owned();
    }
    let dir = Path::new(path).parent().unwrap_or(Path::new("/"));
    let Some((stem, version)) = name.split_once(".so.") else { return name.to_owned() };
    let major = version.split('.').next().unwrap_or(version);
    let short = format!("{stem}.so.{major}");
    if dir.join(&short).exists() { short } else { name.to_owned() }
}

fn show(source: &Path, target: &Path) -> Result<(), Fault> {
    File::create(target).doing("making the shim's files")?;
    bind(source, target, true)
}

fn put(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Fault> {
    fs::write(path, bytes).doing("writing an engine's file")?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).doing("its mode")
}

/// Attends the engine until it ends or the run is to end; its container stays to be destroyed.
///
/// # Errors
/// When its container could not be made or was lost.
pub(super) async fn attend(run: &Arc<Run>, container: &mut Container) -> Result<EngineEnd, Fault> {
    let mut cutter = LineCutter::new(LogName::Engine);
    let mut copy = LogCopy::create(&run.files.control("engine.log"))?;
    let mut stdout = container.helper.stdout.take();
    let mut stderr = container.helper.stderr.take();
    let (mut out, mut err) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut end = run.end.clone();
    let mut tick = tokio::time::interval(LOOK);
    let mut code = None;
    while code.is_none() || stdout.is_some() || stderr.is_some() {
        let (length, piece) = tokio::select! {
            status = container.next_status(), if code.is_none() => match status {
                Some(Status::Started { .. }) => continue,
                Some(Status::Exited { code: exit }) => { code = Some(Some(exit)); continue }
                Some(Status::Failed { message }) => {
                    return Err(Fault::service(format!("the engine can't be started: {message}")));
                }
                None => return Err(lost_helper()),
            },
            length = read_some(&mut stdout, &mut out) => {
                if length == 0 { stdout = None; }
                (length, &out)
            }
            length = read_some(&mut stderr, &mut err) => {
                if length == 0 { stderr = None; }
                (length, &err)
            }
            _ = tick.tick() => { run.note_scratch(); continue }
            cause = end.wait_for(Option::is_some), if code.is_none() => {
                let cause = cause.ok().and_then(|cause| cause.clone());
                stop(container, cause).await;
                code = Some(None);
                continue;
            }
        };
        cutter.push(&run.logs, &piece[..length]);
        copy.push(&piece[..length]);
    }
    cutter.finish(&run.logs);
    let out_of_memory = container.cgroup.oom_kills() > 0;
    let last_lines = cutter.last_lines(5);
    Ok(EngineEnd { code: code.flatten(), last_lines, out_of_memory })
}

/// Asks an engine to end, gives it its grace, then ends it.
async fn stop(container: &mut Container, cause: Option<EndCause>) {
    if let Some(EndCause::Cancelled { grace_ms }) = cause {
        container.signal(libc::SIGTERM);
        let grace = std::time::Duration::from_millis(grace_ms.min(60_000));
        let ended = async {
            while let Some(status) = container.next_status().await {
                if !matches!(status, Status::Started { .. }) {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(grace, ended).await;
    }
    container.signal(libc::SIGKILL);
}

async fn read_some<R: tokio::io::AsyncRead + Unpin>(
    stream: &mut Option<R>,
    buffer: &mut [u8],
) -> usize {
    match stream {
        Some(stream) => stream.read(buffer).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}

/// The engine's log as it will be exported.
struct LogCopy {
    file: File,
    left: u64,
}

impl LogCopy {
    fn create(path: &Path) -> Result<Self, Fault> {
        Ok(Self { file: File::create(path).doing("making the engine's log")?, left: LOG_BYTES_MAX })
    }

    fn push(&mut self, piece: &[u8]) {
        let take = piece.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        // A log that can't be written must not end a run; the server has its own copy.
        if self.file.write_all(&piece[..take]).is_ok() {
            self.left -= take as u64;
        }
    }
}
