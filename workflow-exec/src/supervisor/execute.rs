//! One run from its specification to its report, and its destruction in the order that was tried
//! (docs/semantics.md).

use std::{sync::Arc, time::Duration};

use readvault_ambient::System;
use readvault_exec_protocol::run::{
    RunOutcome, RunReply, RunReport, RunRequest, RunSpec, RunState,
};
use serde_json::Value;
use tokio::{sync::watch, task::JoinSet, time::timeout};

use super::{
    SuperviseOrder,
    context::{EndCause, Run, RunParts},
    engine::{self, EngineEnd},
    files::RunFiles,
    inputs_mount::{self, InputsMount},
    logs::Logs,
    outputs,
    session::Session,
    shim_server, stage,
};
use crate::{
    cgroup::{Cgroup, TASKS},
    fault::{Doing, FailureReason, Fault},
    images::ImageStore,
};

/// How long conversations with the shim may take to end once nothing of the engine lives.
const CONVERSATIONS_END: Duration = Duration::from_secs(30);

/// Executes the run of `order` and destroys it. Returns once nothing is left but this process.
///
/// # Errors
/// When something of the run could not be removed: the agent must.
pub(super) async fn execute(
    order: &SuperviseOrder,
    files: RunFiles,
    group: Cgroup,
    ends: watch::Sender<Option<EndCause>>,
) -> Result<(), Fault> {
    let (lost, mut lost_hears) = watch::channel(None);
    let session = Session::new(order.ticket.server.clone(), order.ticket.token.clone(), lost);
    let end = ends.subscribe();
    let seconds_max = order.ticket.resources.seconds_max;
    // Ends with the runtime.
    tokio::spawn(async move {
        let late = tokio::time::sleep(Duration::from_secs(seconds_max));
        let cause = tokio::select! {
            () = late => EndCause::TimedOut,
            why = lost_hears.wait_for(Option::is_some) => {
                EndCause::Lost(why.ok().and_then(|why| why.clone()).unwrap_or_default())
            }
        };
        ends.send_if_modified(|end| {
            let first = end.is_none();
            if first {
                *end = Some(cause);
            }
            first
        });
        // A later loss ends nothing more; the sender must live as long as its receivers.
        std::future::pending::<()>().await;
    });
    let (hurried, mut heard) = (session.clone(), end.clone());
    tokio::spawn(async move {
        if heard.wait_for(Option::is_some).await.is_ok() {
            hurried.hurry();
        }
    });
    let (logs, _sender) = Logs::start(session.clone());
    let mut executed = Executed::default();
    let mut failed = None;
    let mut early = end.clone();
    let lines = (session.clone(), logs.clone(), end.clone());
    if let Err(fault) = phases(order, &files, &group, lines, &mut executed).await {
        failed = Some(fault);
    }
    let peak = files.scratch_usage().map_or(0, |(used, _)| used);
    let destroyed = destroy(&files, &group);
    if let Err(fault) = &destroyed {
        logs.event(&format!("destruction: {}", fault.message));
    }
    let cause = early.borrow_and_update().clone();
    if matches!(cause, Some(EndCause::Lost(_))) {
        return destroyed;
    }
    let outcome = outcome(cause.as_ref(), failed, destroyed.as_ref().err());
    if let RunOutcome::Failed { reason, message } = &outcome {
        logs.event(&format!("{reason}: {message}"));
    }
    let report = RunReport {
        outcome,
        outputs: executed.outputs,
        engine_digest: executed.engine_digest,
        engine_version: executed.engine_version,
        scratch_peak_bytes: peak.max(executed.scratch_peak_bytes),
    };
    let _ = timeout(LOGS_END, logs.flush()).await;
    // A server that does not take it has its own clock for runs that fall silent.
    let _ = session.tell(&RunRequest::Finish(Box::new(report)), &[]).await;
    destroyed
}

/// Time for the logs of a run to reach the server at its end.
const LOGS_END: Duration = Duration::from_secs(30);

/// What a run that went through leaves to be said.
#[derive(Debug, Default)]
struct Executed {
    outputs: Option<Value>,
    engine_digest: String,
    engine_version: String,
    scratch_peak_bytes: u64,
}

type Lines = (Session, Logs, watch::Receiver<Option<EndCause>>);

async fn phases(
    order: &SuperviseOrder,
    files: &RunFiles,
    group: &Cgroup,
    (session, logs, end): Lines,
    executed: &mut Executed,
) -> Result<(), Fault> {
    let mut ending = end.clone();
    let prepare = async {
        let spec = specification(&session, order).await?;
        session.tell(&RunRequest::State { state: RunState::Starting }, &[]).await?;
        let images = ImageStore::open(&order.images).doing("opening the node's images")?;
        let parts = RunParts {
            spec,
            files: files.clone(),
            session: session.clone(),
            logs: logs.clone(),
            images: Arc::new(images),
            group: group.clone(),
            end,
        };
        let run = Arc::new(Run::new(parts));
        let image = engine::find(&run)?;
        let mount = stage_all(&run, order).await?;
        Ok::<_, Fault>((run, image, mount))
    };
    let (run, image, mut mount) = tokio::select! {
        prepared = prepare => prepared?,
        _ = ending.wait_for(Option::is_some) => {
            return Err(Fault::service("the run was ended before its engine started"));
        }
    };
    executed.engine_digest.clone_from(&image.digest);
    executed.engine_version = image
        .labels
        .get("org.opencontainers.image.version")
        .map_or_else(|| "miniwdl".to_owned(), |version| format!("miniwdl {version}"));
    run.logs.event("inputs are staged, the engine starts");
    let ended = engine_phase(&run, &image).await;
    executed.scratch_peak_bytes = run.notes().scratch_peak_bytes;
    let ended = ended?;
    run.session.tell(&RunRequest::State { state: RunState::Stopping }, &[]).await?;
    whole(&mut mount).await?;
    verdict(&run, &ended)?;
    let outputs = outputs::collect(&run).await?;
    whole(&mut mount).await?;
    executed.outputs = Some(outputs);
    Ok(())
}

/// Refuses everything that was made of inputs which could not be read.
async fn whole(mount: &mut Option<InputsMount>) -> Result<(), Fault> {
    let Some(mount) = mount else { return Ok(()) };
    if mount.is_whole().await {
        return Ok(());
    }
    Err(Fault::service("the mount of large inputs was lost during the run"))
}

async fn specification(session: &Session, order: &SuperviseOrder) -> Result<RunSpec, Fault> {
    match session.ask(&RunRequest::Spec, &[]).await? {
        (RunReply::Spec(spec), _) if spec.run == order.ticket.run => Ok(*spec),
        _ => Err(Fault::service("the server gave no specification of this run")),
    }
}

/// Brings definition and inputs in: small inputs into the run's tmpfs, large ones by the mount, if any.
async fn stage_all(run: &Arc<Run>, order: &SuperviseOrder) -> Result<Option<InputsMount>, Fault> {
    stage::definition(&run.session, &run.spec, &run.files).await?;
    let mut large = Vec::new();
    for (index, input) in (0_u32..).zip(&run.spec.inputs) {
        stage::relative_path(input)?;
        if stage::in_memory(input, run.spec.resources.memory_bytes) {
            stage::input(&run.session, &run.files, index, input).await?;
        } else {
            large.push(input);
        }
    }
    stage::open_inputs(&run.files)?;
    if large.is_empty() {
        return Ok(None);
    }
    InputsMount::start(&run.files, order, &large).await.map(Some)
}

/// Runs the engine and everything that it asks for; when this returns none of it lives any more.
async fn engine_phase(
    run: &Arc<Run>,
    image: &super::context::ResolvedImage,
) -> Result<EngineEnd, Fault> {
    let listener = shim_server::listen(run)?;
    let mut container = engine::start(run, image)?;
    run.session.tell(&RunRequest::State { state: RunState::Running }, &[]).await?;
    let mut conversations = JoinSet::new();
    let ended = tokio::select! {
        ended = engine::attend(run, &mut container) => ended,
        () = shim_server::serve(Arc::clone(run), listener, &mut conversations) => {
            Err(Fault::service("the run's socket failed"))
        }
    };
    if run.end.borrow().is_some() {
        inputs_mount::abort(&run.files);
    }
    let tasks = run.group.child(TASKS);
    let killed = tokio::task::spawn_blocking(move || tasks.kill(&System)).await;
    let _ =
        timeout(CONVERSATIONS_END, async { while conversations.join_next().await.is_some() {} })
            .await;
    conversations.shutdown().await;
    killed.doing("a thread")??;
    container.destroy().await?;
    ended
}

/// Whether the engine's end is a success, and if not, why.
fn verdict(run: &Run, ended: &EngineEnd) -> Result<(), Fault> {
    if ended.code == Some(0) {
        return Ok(());
    }
    if run.group.child(TASKS).oom_kills() > 0 && run.notes().failures.is_empty() {
        let message = "the tasks of the run together used more memory than it has";
        return Err(Fault::new(FailureReason::OutOfMemory, message));
    }
    if ended.out_of_memory {
        return Err(Fault::new(FailureReason::OutOfMemory, "the engine used too much memory"));
    }
    let full = run.files.scratch_usage().is_some_and(|(_, free)| free < (1 << 20));
    let notes = run.notes();
    if let Some(refusal) = notes.refusals.last() {
        return Err(refusal.clone());
    }
    if let Some(task) = notes.failures.last() {
        let no_room = full || task.last_lines.contains("No space left on device");
        let reason = match () {
            () if task.out_of_memory => FailureReason::OutOfMemory,
            () if no_room => FailureReason::FileSystemOutOfSpace,
            () => FailureReason::RunTaskFailed,
        };
        let why = if task.out_of_memory { " (out of memory)" } else { "" };
        let message = format!(
            "task {} ended with exit code {}{why}: {}",
            task.name, task.code, task.last_lines
        );
        return Err(Fault::new(reason, message));
    }
    if full || ended.last_lines.contains("No space left on device") {
        let message = "the run's file system is full";
        return Err(Fault::new(FailureReason::FileSystemOutOfSpace, message));
    }
    let code = ended.code.map_or_else(|| "no exit code".to_owned(), |code| code.to_string());
    let message = format!("the engine ended with {code}: {}", ended.last_lines);
    Err(Fault::new(FailureReason::WorkflowRunFailed, message))
}

/// Kill, then unmount, then remove the groups; each wrong order was seen to hang.
fn destroy(files: &RunFiles, group: &Cgroup) -> Result<(), Fault> {
    inputs_mount::abort(files);
    for name in [TASKS, "engine"] {
        group.child(name).kill(&System)?;
    }
    files.destroy()?;
    for name in [TASKS, "engine"] {
        group.child(name).remove()?;
    }
    Ok(())
}

fn outcome(
    cause: Option<&EndCause>,
    failed: Option<Fault>,
    undestroyed: Option<&Fault>,
) -> RunOutcome {
    let fail = |reason: FailureReason, message: &str| RunOutcome::Failed {
        reason: reason.as_str().to_owned(),
        message: message.to_owned(),
    };
    match (cause, failed, undestroyed) {
        (_, None, Some(fault)) => fail(FailureReason::ServiceError, &fault.message),
        // All outputs were staged before the end came: the work is whole.
        (_, None, None) => RunOutcome::Completed,
        (Some(EndCause::Cancelled { .. }), ..) => RunOutcome::Cancelled,
        (Some(EndCause::TimedOut), ..) => {
            fail(FailureReason::RunTimedOut, "the run took longer than it may")
        }
        (Some(EndCause::AgentDied), ..) => {
            fail(FailureReason::ServiceError, "the node's agent ended during the run")
        }
        (_, Some(fault), _) => fail(fault.reason, &fault.message),
    }
}
