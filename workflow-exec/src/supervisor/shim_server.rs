//! Serves the socket on which the engine's shim asks for containers.
//!
//! The engine runs user code and may say anything here; whatever arrives can only ask, and every answer
//! is decided from what the supervisor sees itself.

use std::sync::Arc;

use readvault_exec_protocol::frame::{read_frame, write_frame};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::JoinSet,
};

use super::{
    context::{Order, Run, resolved},
    task,
};
use crate::{
    fault::{Doing, FailureReason, Fault},
    shim_protocol::{EXIT_REFUSED, InspectReply, ShimReply, ShimRequest},
};

/// Conversations at a time.
const CONNECTIONS_MAX: usize = 1024;

/// Bytes of a refusal that are kept.
const REFUSAL_CHARS_MAX: usize = 500;

/// Makes the socket; the engine's uid may connect.
///
/// # Errors
/// When it can't be made.
pub(super) fn listen(run: &Run) -> Result<UnixListener, Fault> {
    use std::os::unix::fs::{PermissionsExt, chown};
    let path = run.files.control("socket").join("supervisor.sock");
    let listener = UnixListener::bind(&path).doing("making the run's socket")?;
    chown(&path, Some(run.files.uid), Some(run.files.uid)).doing("its owner")?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).doing("its mode")?;
    std::fs::set_permissions(run.files.control("socket"), std::fs::Permissions::from_mode(0o755))
        .doing("its directory's mode")?;
    Ok(listener)
}

/// Serves until it is dropped; `conversations` holds what is going on.
pub(super) async fn serve(run: Arc<Run>, listener: UnixListener, conversations: &mut JoinSet<()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let run = Arc::clone(&run);
                conversations.spawn(async move {
                    converse(run, stream).await;
                    drop(place);
                });
            }
            Some(_) = conversations.join_next() => {}
        }
    }
}

async fn converse(run: Arc<Run>, mut stream: UnixStream) {
    let Ok(Some((request, _))) = read_frame::<_, ShimRequest>(&mut stream).await else { return };
    if let ShimRequest::Run(wanted) = request {
        task::execute(run, *wanted, stream).await;
        return;
    }
    let reply = answer(&run, request)
        .await
        .unwrap_or_else(|fault| ShimReply::Refused { reason: fault.message, code: EXIT_REFUSED });
    // An asker that is gone needs no answer.
    let _ = write_frame(&mut stream, &reply, &[]).await;
}

async fn answer(run: &Run, request: ShimRequest) -> Result<ShimReply, Fault> {
    match request {
        ShimRequest::Stop { name } => order(run, &name, Order::Stop).await,
        ShimRequest::Kill { name, signal } => order(run, &name, Order::Signal(signal)).await,
        ShimRequest::Remove { name } => {
            let live = find(run, &name).filter(|(_, note)| note.exit_code.is_none());
            if live.is_some() {
                return order(run, &name, Order::Signal(libc::SIGKILL)).await;
            }
            Ok(ShimReply::Done)
        }
        ShimRequest::Inspect { name } => inspect(run, &name).map(ShimReply::Inspect),
        ShimRequest::Pull { image } => match run.image(&image) {
            Ok(_) => Ok(ShimReply::Done),
            Err(fault) => {
                run.refuse(&fault);
                Err(fault)
            }
        },
        ShimRequest::Images => {
            let images = run.images.list().doing("listing images")?;
            let images = images.into_iter().map(|image| (image.name, image.digest)).collect();
            Ok(ShimReply::Images { images })
        }
        ShimRequest::Stats { name } => stats(run, &name),
        ShimRequest::RefusedFlag { reason } => {
            let reason: String = reason.chars().take(REFUSAL_CHARS_MAX).collect();
            let printable = reason.replace(char::is_control, " ");
            run.refuse(&Fault::new(FailureReason::WorkflowRunFailed, printable));
            Ok(ShimReply::Done)
        }
        ShimRequest::Run(_)
        | ShimRequest::Stdin
        | ShimRequest::StdinEnd
        | ShimRequest::Signal { .. } => Err(Fault::service("not a request of its own")),
    }
}

fn find(run: &Run, name: &str) -> Option<(String, super::context::ContainerNote)> {
    let notes = run.notes();
    // A name may serve several containers one after the other: the live one is meant.
    let mut named: Vec<_> =
        notes.containers.iter().filter(|(id, note)| *id == name || note.name == name).collect();
    named.sort_by_key(|(_, note)| note.exit_code.is_some());
    named.first().map(|(id, note)| ((*id).clone(), (*note).clone()))
}

async fn order(run: &Run, name: &str, order: Order) -> Result<ShimReply, Fault> {
    let (_, note) =
        find(run, name).ok_or_else(|| Fault::service(format!("no such container: {name}")))?;
    // A container that has ended takes no orders any more, which is what was wanted.
    let _ = note.orders.send(order).await;
    Ok(ShimReply::Done)
}

fn inspect(run: &Run, name: &str) -> Result<InspectReply, Fault> {
    if let Some((id, note)) = find(run, name) {
        return Ok(InspectReply::Container {
            container: id,
            name: note.name,
            image: note.image,
            running: note.exit_code.is_none(),
            exit_code: note.exit_code,
        });
    }
    let image = run.image(name)?;
    let record = run.images.resolve(&image.digest).doing("an image's record")?;
    let config = run.images.config(&image.digest).doing("an image's configuration")?;
    // The image is known; its tree is not needed here, but must be there for the run.
    resolved(&run.images, &image.digest)?;
    Ok(InspectReply::Image {
        name: record.name,
        digest: record.digest,
        config_digest: record.config_digest,
        config: Box::new(serde_json::to_value(config).doing("an image's configuration")?),
    })
}

fn stats(run: &Run, name: &str) -> Result<ShimReply, Fault> {
    let (container, note) =
        find(run, name).ok_or_else(|| Fault::service(format!("no such container: {name}")))?;
    Ok(ShimReply::Stats {
        container,
        memory_bytes: note.cgroup.memory_bytes().unwrap_or(0),
        memory_bytes_max: note.memory_bytes,
        cpu_seconds: note.cgroup.cpu_seconds().unwrap_or(0.0),
        pids: note.cgroup.pids_now().unwrap_or(0),
    })
}
