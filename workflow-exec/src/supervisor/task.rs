//! One task, from the shim's request to its exit code: what it may use, its record, its end.

use std::{path::Path, sync::Arc, time::Duration};

use readvault_ambient::{Clock, Entropy, System, random};
use readvault_exec_protocol::{
    frame::write_frame,
    run::{Access, RunRequest, TaskReport, TaskState},
};
use tokio::{net::UnixStream, sync::mpsc};
use uuid::Uuid;

use super::{
    admission::Room,
    attend::{Attendance, Ended},
    binds,
    container::{Container, ContainerPlan},
    context::{ContainerNote, ResolvedImage, Run, TaskFailure},
    root::PreparedBind,
};
use crate::{
    cgroup::{Limits, TASK_PIDS_MAX, TASKS},
    fault::{FailureReason, Fault},
    shim_protocol::{EXIT_REFUSED, LIST_MAX, RunContainer, SHIM_PROTOCOL_VERSION, ShimReply},
};

/// Memory of a task that asks for none, unless the run has less.
const MEMORY_DEFAULT_BYTES: u64 = 2 << 30;

/// Cores of a task that asks for none.
const CPUS_DEFAULT: f64 = 1.0;

/// Bytes of `/dev/shm` of a task that asks for none.
const SHM_DEFAULT_BYTES: u64 = 64 << 20;

/// Orders that may wait for a container.
const ORDERS_MAX: usize = 16;

/// A task as it was decided.
struct Task {
    id: Uuid,
    report: TaskReport,
    memory_bytes: u64,
    cpus: f64,
    image: ResolvedImage,
    binds: Vec<PreparedBind>,
    wanted: RunContainer,
}

/// A new random id.
pub(super) fn new_id(entropy: &dyn Entropy) -> Uuid {
    uuid::Builder::from_random_bytes(random(entropy)).into_uuid()
}

/// Executes the task that `wanted` describes and answers on `stream`.
pub(super) async fn execute(run: Arc<Run>, wanted: RunContainer, mut stream: UnixStream) {
    let outcome = match decide(&run, wanted) {
        Ok(task) => attempt(&run, task, &mut stream).await,
        Err(fault) => {
            run.refuse(&fault);
            Err(fault)
        }
    };
    if let Err(fault) = outcome {
        let refused = ShimReply::Refused { reason: fault.message, code: EXIT_REFUSED };
        // A shim that is gone needs no answer.
        let _ = write_frame(&mut stream, &refused, &[]).await;
    }
}

fn decide(run: &Run, wanted: RunContainer) -> Result<Task, Fault> {
    let refuse = |why: &str| Fault::new(FailureReason::WorkflowRunFailed, why);
    if wanted.version != SHIM_PROTOCOL_VERSION {
        return Err(refuse("the engine's shim speaks another version"));
    }
    let longest = wanted.argv.len().max(wanted.env.len()).max(wanted.binds.len());
    if longest > LIST_MAX {
        return Err(refuse("a task has too many arguments, variables or binds"));
    }
    let network = wanted.network.as_deref().unwrap_or("none");
    if !matches!(network, "none" | "" | "bridge" | "default") {
        return Err(refuse(&format!("the network {network:?} is not allowed")));
    }
    let image = run.image(&wanted.image)?;
    let opened: Result<Vec<_>, _> =
        wanted.binds.iter().map(|bind| binds::prepare(run, bind)).collect();
    let all = run.spec.resources;
    let memory_bytes = match wanted.memory_bytes {
        Some(bytes) if bytes > 0 => bytes,
        _ => MEMORY_DEFAULT_BYTES.min(all.memory_bytes),
    };
    let cpus = match wanted.cpus {
        Some(cpus) if cpus.is_finite() && cpus > 0.0 => cpus,
        _ => CPUS_DEFAULT.min(f64::from(all.cpus)),
    };
    let id = new_id(&System);
    let report = TaskReport {
        task: id,
        state: TaskState::Pending,
        name: claimed_name(&wanted),
        image: wanted.image.clone(),
        image_digest: image.digest.clone(),
        argv: wanted.argv.clone(),
        cpus,
        memory_bytes,
        exit_code: None,
        out_of_memory: false,
        memory_peak_bytes: None,
        cpu_seconds: None,
        message: None,
        started_ms: None,
        stopped_ms: None,
    };
    Ok(Task { id, report, memory_bytes, cpus, image, binds: opened?, wanted })
}

/// What the engine calls a task: a label, miniwdl's directory of the call, the container's name.
fn claimed_name(wanted: &RunContainer) -> String {
    let label = wanted.labels.iter().find(|(name, _)| name == "readvault.task");
    if let Some((_, name)) = label {
        return name.chars().take(255).collect();
    }
    let call = wanted.binds.iter().find_map(|bind| {
        let parent = Path::new(&bind.source).parent()?.file_name()?.to_str()?;
        parent.strip_prefix("call-").map(str::to_owned)
    });
    let name = call.or_else(|| wanted.name.clone());
    let name = name.unwrap_or_else(|| "task".to_owned());
    name.chars().filter(|letter| !letter.is_control()).take(255).collect()
}

/// Runs a decided task; an error means that it never ran.
async fn attempt(run: &Arc<Run>, mut task: Task, stream: &mut UnixStream) -> Result<(), Fault> {
    tell(run, &task).await?;
    let _room: Room = match admit(run, &task, stream).await {
        Ok(room) => room,
        Err(fault) => return Err(fail(run, task, fault).await),
    };
    task.report.state = TaskState::Starting;
    tell(run, &task).await?;
    let plan = plan(run, &mut task);
    let outputs = binds::output_files(&plan.binds);
    for bind in &plan.binds {
        for input in binds::inputs_shown(run, bind) {
            let access = RunRequest::Access { task: task.id, input, access: Access::Bound };
            run.session.tell(&access, &[]).await?;
        }
    }
    let mut container = match Container::start(&run.files, &plan) {
        Ok(container) => container,
        Err(fault) => return Err(fail(run, task, fault).await),
    };
    let (orders, taken) = mpsc::channel(ORDERS_MAX);
    let note = ContainerNote {
        name: task.wanted.name.clone().unwrap_or_else(|| plan.id.clone()),
        image: task.wanted.image.clone(),
        exit_code: None,
        cgroup: plan.cgroup.clone(),
        memory_bytes: task.memory_bytes,
        orders,
    };
    run.notes().containers.insert(plan.id.clone(), note);
    if container.begun().await {
        task.report.state = TaskState::Running;
        task.report.started_ms = Some(System.unix_ms());
        tell(run, &task).await?;
    }
    let attendance = Attendance {
        run: Arc::clone(run),
        container,
        orders: taken,
        outputs,
        memory_bytes: task.memory_bytes,
        task: task.id,
    };
    let ended = attendance.attend(stream, &plan.id).await;
    finish(run, task, &plan.id, ended, stream).await
}

async fn admit(run: &Run, task: &Task, stream: &UnixStream) -> Result<Room, Fault> {
    let mut end = run.end.clone();
    tokio::select! {
        room = run.admission.room(task.cpus, task.memory_bytes) => room,
        _ = end.wait_for(Option::is_some) => Err(Fault::service("the run is ending")),
        _ = gone(stream) => Err(Fault::service("the engine gave the task up")),
    }
}

/// Ends when the peer has closed its side. Frames that wait to be read stay where they are.
async fn gone(stream: &UnixStream) {
    loop {
        let mut probe = [0_u8; 1];
        let raw = std::os::fd::AsRawFd::as_raw_fd(stream);
        let flags = nix::sys::socket::MsgFlags::MSG_PEEK | nix::sys::socket::MsgFlags::MSG_DONTWAIT;
        if matches!(nix::sys::socket::recv(raw, &mut probe, flags), Ok(0)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn plan(run: &Run, task: &mut Task) -> ContainerPlan {
    let wanted = &task.wanted;
    let id = task.id.simple().to_string();
    let image = &task.image;
    let mut argv = wanted.entrypoint.clone().unwrap_or_else(|| image.entrypoint.clone());
    // docker: a given entry point, or given arguments, replace the image's default arguments.
    if wanted.argv.is_empty() && wanted.entrypoint.is_none() {
        argv.extend(image.command.iter().cloned());
    } else {
        argv.extend(wanted.argv.iter().cloned());
    }
    let workdir = wanted.workdir.clone().or_else(|| image.workdir.clone());
    let cwd = workdir.filter(|dir| dir.starts_with('/')).unwrap_or_else(|| "/".to_owned());
    // The pages of files that it writes to the run's tmpfs are charged to a task as well: the hard
    // limit leaves room for them, its own memory is watched (see `attend`).
    let limits = Limits {
        memory_bytes: Some(task.memory_bytes.saturating_add(run.spec.resources.scratch_bytes)),
        cpus: Some(task.cpus),
        pids: Some(TASK_PIDS_MAX),
    };
    ContainerPlan {
        cgroup: run.group.child(TASKS).child(&id),
        image: image.tree.clone(),
        argv,
        env: environment(run, task),
        cwd,
        binds: std::mem::take(&mut task.binds),
        limits,
        shm_bytes: wanted.shm_bytes.unwrap_or(SHM_DEFAULT_BYTES).min(task.memory_bytes),
        stdin: wanted.interactive,
        id,
    }
}

/// Variables of a task: the image's, the engine's, then the run's, which win.
fn environment(run: &Run, task: &Task) -> Vec<(String, String)> {
    let ours = |name: &str| name.starts_with("AWS_") || name.starts_with("READVAULT_");
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let mut env =
        vec![("PATH".to_owned(), path.to_owned()), ("HOME".to_owned(), "/tmp".to_owned())];
    env.extend(task.image.env.iter().filter(|(name, _)| !ours(name)).cloned());
    env.extend(task.wanted.env.iter().filter(|(name, _)| !ours(name)).cloned());
    env.retain(|(name, value)| {
        !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
    });
    env.extend(run_environment(run));
    let task_id = task.id.to_string();
    let arn =
        run.spec.run_arn.rsplit_once(":run/").map(|(head, _)| format!("{head}:task/{task_id}"));
    env.extend([
        ("AWS_WORKFLOW_TASK".to_owned(), arn.unwrap_or_else(|| task_id.clone())),
        ("AWS_WORKFLOW_TASK_ID".to_owned(), task_id.clone()),
        ("AWS_WORKFLOW_TASK_UUID".to_owned(), task_id),
    ]);
    env
}

/// Variables that engine and tasks of a run share.
pub(super) fn run_environment(run: &Run) -> Vec<(String, String)> {
    let spec = &run.spec;
    [
        ("AWS_REGION", spec.region.clone()),
        ("AWS_WORKFLOW_RUN", spec.run_arn.clone()),
        ("AWS_WORKFLOW_RUN_ID", spec.run_id.clone()),
        ("AWS_WORKFLOW_RUN_UUID", spec.run.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

async fn tell(run: &Run, task: &Task) -> Result<(), Fault> {
    run.session.tell(&RunRequest::Task(Box::new(task.report.clone())), &[]).await
}

/// Records that a task never ran, and gives back why.
async fn fail(run: &Run, mut task: Task, fault: Fault) -> Fault {
    let ending = run.end.borrow().is_some();
    task.report.state = if ending { TaskState::Cancelled } else { TaskState::Failed };
    task.report.message = Some(fault.message.clone());
    task.report.stopped_ms = Some(System.unix_ms());
    if !ending {
        run.refuse(&fault);
    }
    // The fault itself is what matters; a server that is away shows elsewhere.
    let _ = tell(run, &task).await;
    fault
}

async fn finish(
    run: &Run,
    mut task: Task,
    container: &str,
    ended: Result<Ended, Fault>,
    stream: &mut UnixStream,
) -> Result<(), Fault> {
    if let Some(note) = run.notes().containers.get_mut(container) {
        note.exit_code = Some(ended.as_ref().map_or(EXIT_REFUSED, |ended| ended.code));
    }
    let ended = match ended {
        Ok(ended) => ended,
        Err(fault) => return Err(fail(run, task, fault).await),
    };
    let ending = run.end.borrow().is_some();
    let report = &mut task.report;
    report.state = match ended.code {
        _ if ending && ended.code != 0 => TaskState::Cancelled,
        0 => TaskState::Completed,
        _ => TaskState::Failed,
    };
    report.exit_code = Some(ended.code);
    report.out_of_memory = ended.out_of_memory;
    report.memory_peak_bytes = ended.memory_peak_bytes;
    report.cpu_seconds = ended.cpu_seconds;
    report.stopped_ms = Some(System.unix_ms());
    if report.state == TaskState::Failed {
        report.message = Some(if ended.out_of_memory {
            format!("ended by the limit of {} bytes of memory", task.memory_bytes)
        } else {
            format!("exit code {}: {}", ended.code, ended.last_lines)
        });
        let failure = TaskFailure {
            name: report.name.clone(),
            code: ended.code,
            out_of_memory: ended.out_of_memory,
            last_lines: ended.last_lines.clone(),
        };
        run.logs.event(&format!("task {} failed with exit code {}", failure.name, failure.code));
        run.notes().failures.push(failure);
    }
    tell(run, &task).await?;
    // The record is complete; a shim that is gone needs no exit code.
    let _ = write_frame(stream, &ShimReply::Exited { code: ended.code }, &[]).await;
    Ok(())
}
