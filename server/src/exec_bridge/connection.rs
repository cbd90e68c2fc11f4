//! One connection of a process of a run: its token first, then questions, each with one answer.

use std::time::Duration;

use bytes::Bytes;
use readvault_exec_protocol::{
    PROTOCOL_VERSION,
    frame::{FrameError, read_frame, write_frame},
    run::{RunReply, RunRequest},
    sink::StagedOutput,
    source::SourceError,
};
use tokio::{net::UnixStream, sync::mpsc, task::JoinHandle, time::timeout};

use super::ExecBridge;

/// Time that a peer has for its first frame.
const HELLO_MAX: Duration = Duration::from_secs(10);

/// Pieces of an output that may wait for the vault.
const PIECES_MAX: usize = 4;

/// Time before a connection is ended because bytes are not at hand: its peer asks again on another one.
const PAUSE: Duration = Duration::from_millis(100);

/// An answer, or none when the connection is to be ended.
type Answer = Result<(RunReply, Bytes), SourceError>;

/// An output on its way to the vault.
struct Output {
    pieces: mpsc::Sender<Bytes>,
    staging: JoinHandle<Result<StagedOutput, SourceError>>,
}

impl Output {
    /// Ends the staging before it could take the end of the connection for the end of the output.
    async fn abandon(self) {
        self.staging.abort();
        let _ = self.staging.await;
        drop(self.pieces);
    }

    async fn finish(self) -> Result<StagedOutput, SourceError> {
        drop(self.pieces);
        match self.staging.await {
            Ok(staged) => staged,
            Err(_) => Err(SourceError::Unavailable("the output was not staged".into())),
        }
    }
}

/// Speaks with one peer until either ends it.
pub(super) async fn converse(bridge: &ExecBridge, mut stream: UnixStream) {
    let Some(token) = hello(bridge, &mut stream).await else { return };
    let mut output = None;
    if let Err(error) = answer_all(bridge, &mut stream, &token, &mut output).await {
        tracing::debug!(%error, "a conversation with a run ended");
    }
    if let Some(output) = output {
        output.abandon().await;
    }
}

/// The peer's token, once it opens a run.
async fn hello(bridge: &ExecBridge, stream: &mut UnixStream) -> Option<String> {
    let frame = timeout(HELLO_MAX, read_frame::<_, RunRequest>(stream)).await.ok()?.ok()??;
    let refuse = |reason: String| RunReply::Refused { reason, fatal: true };
    let (token, reply) = match frame.0 {
        RunRequest::Hello { version, .. } if version != PROTOCOL_VERSION => {
            let reason = format!("this server speaks version {PROTOCOL_VERSION}, not {version}");
            (None, refuse(reason))
        }
        RunRequest::Hello { token, .. } => match bridge.source.open(&token).await {
            Ok(_) => (Some(token), RunReply::Done),
            // Peers take a refused greeting for the last word: say nothing, and they come again.
            Err(SourceError::Unavailable(_)) => return None,
            Err(error) => (None, refuse(error.to_string())),
        },
        _ => (None, refuse("the first frame must be hello".into())),
    };
    write_frame(stream, &reply, &[]).await.ok()?;
    token
}

async fn answer_all(
    bridge: &ExecBridge,
    stream: &mut UnixStream,
    token: &str,
    output: &mut Option<Output>,
) -> Result<(), FrameError> {
    while let Some((request, payload)) = read_frame::<_, RunRequest>(stream).await? {
        let (reply, bytes) = match answer(bridge, token, (request, payload), output).await {
            Ok(answer) => answer,
            Err(SourceError::Unavailable(_)) => {
                tokio::time::sleep(PAUSE).await;
                return Ok(());
            }
            Err(SourceError::Invalid(reason)) => {
                (RunReply::Refused { reason, fatal: false }, Bytes::new())
            }
            Err(SourceError::Revoked(reason)) => {
                (RunReply::Refused { reason, fatal: true }, Bytes::new())
            }
        };
        write_frame(stream, &reply, &bytes).await?;
    }
    Ok(())
}

async fn answer(
    bridge: &ExecBridge,
    token: &str,
    (request, payload): (RunRequest, Bytes),
    output: &mut Option<Output>,
) -> Answer {
    let (source, sink) = (&bridge.source, &bridge.sink);
    let done = |()| (RunReply::Done, Bytes::new());
    let data = |bytes| (RunReply::Data, bytes);
    match request {
        RunRequest::Hello { .. } => Err(SourceError::Invalid("hello was said already".into())),
        RunRequest::Spec => {
            let spec = source.open(token).await?;
            Ok((RunReply::Spec(Box::new(spec)), Bytes::new()))
        }
        RunRequest::Definition { offset, length } => {
            source.definition(token, offset, length).await.map(data)
        }
        RunRequest::Read { input, offset, length } => {
            source.read(token, input, offset, length).await.map(data)
        }
        RunRequest::Task(report) => sink.task(token, *report).await.map(done),
        RunRequest::Access { task, input, access } => {
            sink.access(token, task, input, access).await.map(done)
        }
        RunRequest::Log { log } => sink.log(token, log, payload).await.map(done),
        RunRequest::State { state } => sink.state(token, state).await.map(done),
        RunRequest::OutputBegin { path } => {
            if let Some(earlier) = output.take() {
                earlier.abandon().await;
            }
            *output = Some(begin(bridge, token, path));
            Ok(done(()))
        }
        RunRequest::OutputData => append(output, payload).await.map(done),
        RunRequest::OutputEnd => {
            let output = output.take().ok_or_else(no_output)?;
            let StagedOutput { sha256, length } = output.finish().await?;
            Ok((RunReply::Output { sha256, length }, Bytes::new()))
        }
        RunRequest::Finish(report) => sink.finish(token, *report).await.map(done),
    }
}

fn no_output() -> SourceError {
    SourceError::Invalid("no output was begun".into())
}

/// Begins to stage an output; other questions are answered meanwhile.
fn begin(bridge: &ExecBridge, token: &str, path: String) -> Output {
    let (pieces, receiver) = mpsc::channel(PIECES_MAX);
    let (sink, token) = (bridge.sink.clone(), token.to_owned());
    let staging = tokio::spawn(async move { sink.output(&token, path, receiver).await });
    Output { pieces, staging }
}

/// Hands over a piece, as fast as the vault takes them.
async fn append(output: &mut Option<Output>, payload: Bytes) -> Result<(), SourceError> {
    let begun = output.as_ref().ok_or_else(no_output)?;
    if begun.pieces.send(payload).await.is_ok() {
        return Ok(());
    }
    // The staging ended before the output did: it knows why.
    let ended = output.take().ok_or_else(no_output)?;
    match ended.finish().await {
        Err(error) => Err(error),
        Ok(_) => Err(SourceError::Unavailable("the output was not staged".into())),
    }
}
