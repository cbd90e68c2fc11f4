//! Starts an inspector process, feeds it, and turns whatever becomes of it into a verdict.

use std::{
    io, os::unix::process::ExitStatusExt, path::PathBuf, pin::Pin, process::ExitStatus,
    process::Stdio, time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use thiserror::Error;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::{InspectRequest, Refusal, Verdict, frame};

/// Bytes of one source, in order.
pub type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// What one inspector process may use.
#[derive(Clone, Debug)]
pub struct InspectorSettings {
    /// Address space.
    pub memory_bytes_max: u64,
    /// Processor time.
    pub cpu_seconds_max: u64,
    /// Wall-clock time from start to verdict.
    pub wall_max: Duration,
    /// Bytes of the verdict.
    pub verdict_bytes_max: usize,
    /// Bytes of the index.
    pub index_bytes_max: usize,
}

impl Default for InspectorSettings {
    fn default() -> Self {
        Self {
            memory_bytes_max: 3 << 30,
            cpu_seconds_max: 24 * 3600,
            wall_max: Duration::from_secs(48 * 3600),
            verdict_bytes_max: 128 << 20,
            index_bytes_max: 512 << 20,
        }
    }
}

/// Verdict, and the index that was built on the way.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The verdict.
    pub verdict: Verdict,
    /// Bytes of the index, of the kind that the summary names.
    pub index: Option<Bytes>,
}

/// The inspection itself could not be carried out; the bytes were not judged. Try again later.
#[derive(Debug, Error)]
pub enum InspectError {
    /// The program did not start.
    #[error("the inspector could not be started")]
    Start(#[source] io::Error),
    /// Stored bytes could not be read.
    #[error("source {number} could not be read")]
    Source {
        /// Number of the source, from 0.
        number: usize,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The request and the streams do not belong together, or the request cannot be written.
    #[error("the request names {named} sources and {given} were given")]
    Request {
        /// Sources in the request.
        named: usize,
        /// Streams given.
        given: usize,
    },
    /// The process could not be waited for.
    #[error("the inspector could not be waited for")]
    Wait(#[source] io::Error),
}

/// Runs one `readvault-inspect` process an inspection.
///
/// ```no_run
/// # async fn example() -> Result<(), readvault_inspect_protocol::InspectError> {
/// use readvault_inspect_protocol::{InspectRequest, Inspector, InspectorSettings, SourceInfo};
///
/// let program = "/usr/libexec/readvault-inspect".into();
/// let inspector = Inspector::new(program, InspectorSettings::default());
/// let request = InspectRequest { sources: vec![SourceInfo::default()], ..Default::default() };
/// let bytes = Box::pin(futures::stream::iter([Ok(bytes::Bytes::from_static(b"@r\nA\n+\nI\n"))]));
/// let inspection = inspector.inspect(&request, vec![bytes]).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Inspector {
    program: PathBuf,
    settings: InspectorSettings,
}

impl Inspector {
    /// An inspector that starts `program`.
    #[must_use]
    pub fn new(program: PathBuf, settings: InspectorSettings) -> Self {
        Self { program, settings }
    }

    /// Inspects `sources`, each read in order and at most a grant ahead of the parser.
    ///
    /// A process that crashes, is killed, runs out of memory or time, or breaks the protocol
    /// gives a refusal. Dropping the future kills the process.
    ///
    /// # Errors
    /// When the bytes could not be judged: see [`InspectError`].
    pub async fn inspect(
        &self,
        request: &InspectRequest,
        sources: Vec<ByteStream>,
    ) -> Result<Inspection, InspectError> {
        if request.sources.len() != sources.len() || sources.len() > usize::from(u8::MAX) {
            let (named, given) = (request.sources.len(), sources.len());
            return Err(InspectError::Request { named, given });
        }
        let mut child = self.start()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(InspectError::Start(io::Error::other("its pipes are missing")));
        };
        let feeds = sources.into_iter().map(Feed::new).collect();
        let talk = Talk { stdin, stdout, feeds, settings: &self.settings };
        let outcome = tokio::time::timeout(self.settings.wall_max, talk.run(request)).await;
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(_) => {
                let seconds = self.settings.wall_max.as_secs();
                let reason = format!("the inspection took longer than {seconds} s");
                Err(Broken::Refuse(Verdict::refused(reason)))
            }
        };
        settle(child, outcome).await
    }

    fn start(&self) -> Result<Child, InspectError> {
        Command::new(&self.program)
            .arg("pipe")
            .arg(format!("--memory-bytes={}", self.settings.memory_bytes_max))
            .arg(format!("--cpu-seconds={}", self.settings.cpu_seconds_max))
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(InspectError::Start)
    }
}

/// Why a conversation ended without a verdict.
enum Broken {
    /// The caller's own bytes failed.
    Error(InspectError),
    /// The server ends it with this verdict.
    Refuse(Verdict),
    /// The process is gone or going; its exit status tells why.
    Pipe,
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self::Pipe
    }
}

/// Reaps the process and turns its end into an outcome.
async fn settle(
    mut child: Child,
    outcome: Result<Inspection, Broken>,
) -> Result<Inspection, InspectError> {
    match outcome {
        Ok(inspection) => {
            child.kill().await.map_err(InspectError::Wait)?;
            Ok(inspection)
        }
        Err(Broken::Error(error)) => {
            child.kill().await.map_err(InspectError::Wait)?;
            Err(error)
        }
        Err(Broken::Refuse(verdict)) => {
            child.kill().await.map_err(InspectError::Wait)?;
            Ok(Inspection { verdict, index: None })
        }
        Err(Broken::Pipe) => {
            // A broken pipe precedes the death by an instant; a process that closed its pipes
            // and lives on is killed after that instant.
            let grace = Duration::from_secs(2);
            let status = match tokio::time::timeout(grace, child.wait()).await {
                Ok(status) => status.map_err(InspectError::Wait)?,
                Err(_) => {
                    child.kill().await.map_err(InspectError::Wait)?;
                    return Ok(Inspection { verdict: protocol_broken(), index: None });
                }
            };
            let verdict = Verdict::refused(describe_end(status));
            Ok(Inspection { verdict, index: None })
        }
    }
}

fn protocol_broken() -> Verdict {
    Verdict::refused("the inspector broke its protocol")
}

fn describe_end(status: ExitStatus) -> String {
    const SIGABRT: i32 = 6;
    const SIGKILL: i32 = 9;
    const SIGXCPU: i32 = 24;
    const SIGSYS: i32 = 31;
    match (status.signal(), status.code()) {
        (Some(signal), _) => {
            let meaning = match signal {
                SIGABRT => " (out of memory, or an invariant broke)",
                SIGKILL => " (killed, or out of processor time or memory)",
                SIGXCPU => " (out of processor time)",
                SIGSYS => " (a system call that it may not make)",
                _ => "",
            };
            format!("the inspector ended by signal {signal}{meaning}")
        }
        (None, Some(code)) => {
            format!("the inspector ended with status {code} before it gave a verdict")
        }
        (None, None) => "the inspector ended before it gave a verdict".into(),
    }
}

/// One source and what of its last piece has not been granted yet.
struct Feed {
    stream: ByteStream,
    rest: Bytes,
    ended: bool,
}

impl Feed {
    fn new(stream: ByteStream) -> Self {
        Self { stream, rest: Bytes::new(), ended: false }
    }

    /// The next bytes, at most a grant; `None` at the end.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        while self.rest.is_empty() {
            match self.stream.next().await {
                Some(piece) => self.rest = piece?,
                None => {
                    self.ended = true;
                    return Ok(None);
                }
            }
        }
        let length = self.rest.len().min(frame::GRANT_BYTES_MAX);
        Ok(Some(self.rest.split_to(length)))
    }
}

/// The conversation with one process.
struct Talk<'a> {
    stdin: ChildStdin,
    stdout: ChildStdout,
    feeds: Vec<Feed>,
    settings: &'a InspectorSettings,
}

impl Talk<'_> {
    async fn run(mut self, request: &InspectRequest) -> Result<Inspection, Broken> {
        let request = serde_json::to_vec(request).map_err(|_| Broken::Refuse(protocol_broken()))?;
        if request.len() > frame::REQUEST_BYTES_MAX {
            return Err(Broken::Refuse(Verdict::refused("the reference has too many sequences")));
        }
        self.send(frame::REQUEST, None, &request).await?;
        let (mut verdict, mut index) = (Vec::new(), Vec::new());
        let mut payload = Vec::new();
        loop {
            match self.receive(&mut payload).await? {
                frame::WANT => self.grant(&payload).await?,
                frame::INDEX => {
                    append(&mut index, &payload, self.settings.index_bytes_max, "index")?;
                }
                frame::VERDICT => {
                    append(&mut verdict, &payload, self.settings.verdict_bytes_max, "verdict")?;
                }
                frame::DONE => break,
                _ => return Err(Broken::Refuse(protocol_broken())),
            }
        }
        self.judge(&verdict, index)
    }

    /// Takes an acceptance only from a process that was given every byte of every source.
    fn judge(&self, verdict: &[u8], index: Vec<u8>) -> Result<Inspection, Broken> {
        let verdict: Verdict =
            serde_json::from_slice(verdict).map_err(|_| Broken::Refuse(protocol_broken()))?;
        let Verdict::Accepted(summary) = &verdict else {
            return Ok(Inspection { verdict, index: None });
        };
        let whole = self.feeds.iter().all(|feed| feed.ended && feed.rest.is_empty());
        if !whole || summary.index.is_some() == index.is_empty() {
            return Err(Broken::Refuse(protocol_broken()));
        }
        let index = summary.index.map(|_| Bytes::from(index));
        Ok(Inspection { verdict, index })
    }

    async fn grant(&mut self, payload: &[u8]) -> Result<(), Broken> {
        let broken = || Broken::Refuse(protocol_broken());
        let [number] = *payload else { return Err(broken()) };
        let feed = self.feeds.get_mut(usize::from(number)).ok_or_else(broken)?;
        let bytes = feed.next().await.map_err(|source| {
            Broken::Error(InspectError::Source { number: usize::from(number), source })
        })?;
        // A process that refuses early leaves its last grant unread: its verdict still stands in
        // the other pipe, so a failed write only sends the conversation back to reading.
        let _ = match bytes {
            Some(bytes) => self.send(frame::DATA, Some(number), &bytes).await,
            None => self.send(frame::END, Some(number), &[]).await,
        };
        Ok(())
    }

    async fn send(&mut self, kind: u8, number: Option<u8>, bytes: &[u8]) -> io::Result<()> {
        let length = bytes.len() + usize::from(number.is_some());
        let mut head = frame::encode_head(kind, length).to_vec();
        head.extend(number);
        self.stdin.write_all(&head).await?;
        self.stdin.write_all(bytes).await?;
        self.stdin.flush().await
    }

    async fn receive(&mut self, payload: &mut Vec<u8>) -> Result<u8, Broken> {
        let mut head = [0; frame::HEAD_BYTES];
        self.stdout.read_exact(&mut head).await?;
        let (kind, length) =
            frame::decode_head(head).map_err(|_| Broken::Refuse(protocol_broken()))?;
        payload.resize(length, 0);
        self.stdout.read_exact(payload).await?;
        Ok(kind)
    }
}

fn append(whole: &mut Vec<u8>, part: &[u8], max: usize, what: &str) -> Result<(), Broken> {
    if whole.len() + part.len() > max {
        let reason = format!("the {what} grows beyond {max} bytes");
        return Err(Broken::Refuse(Verdict::Refused(Refusal {
            source: None,
            place: crate::Place::default(),
            reason,
        })));
    }
    whole.extend_from_slice(part);
    Ok(())
}
