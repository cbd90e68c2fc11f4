//! The conversation over a real socket, with a sink that keeps what it is told.

use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use readvault_exec_protocol::{
    PROTOCOL_VERSION,
    agent::{Language, RunResources},
    frame::{read_frame, write_frame},
    run::{
        Access, LogName, RunOutcome, RunReply, RunReport, RunRequest, RunSpec, RunState, TaskReport,
    },
    sink::StagedOutput,
    source::SourceError,
};
use readvault_ops::run::RunUuid;
use tokio::sync::mpsc;

use super::*;

#[derive(Default)]
struct Told {
    outputs: Mutex<Vec<(String, usize)>>,
    lines: Mutex<Vec<Bytes>>,
    finished: Mutex<bool>,
}

fn check(token: &str) -> Result<(), SourceError> {
    match token {
        "good" => Ok(()),
        "busy" => Err(SourceError::Unavailable("busy".into())),
        _ => Err(SourceError::Revoked("the token opens no run".into())),
    }
}

#[async_trait]
impl ReadSetSource for Told {
    async fn open(&self, token: &str) -> Result<RunSpec, SourceError> {
        check(token)?;
        let resources = RunResources { cpus: 1, memory_bytes: 1, scratch_bytes: 1, seconds_max: 1 };
        Ok(RunSpec {
            run: "00000000-0000-0000-0000-000000000001".parse().expect("a UUID"),
            run_id: "1000000".into(),
            run_arn: "arn".into(),
            region: "us-east-1".into(),
            language: Language::Wdl,
            main: "w.wdl".into(),
            definition_bytes: 3,
            definition_sha256: String::new(),
            parameters: serde_json::json!({}),
            inputs: Vec::new(),
            resources,
            images: Vec::new(),
        })
    }

    async fn definition(&self, _: &str, offset: u64, _: u32) -> Result<Bytes, SourceError> {
        Ok(Bytes::from_static(b"zip").slice(usize::try_from(offset).unwrap_or(3).min(3)..))
    }

    async fn read(&self, _: &str, input: u32, _: u64, _: u32) -> Result<Bytes, SourceError> {
        match input {
            0 => Err(SourceError::Invalid("the run has no such input".into())),
            1 => Err(SourceError::Revoked("the role may not".into())),
            _ => Err(SourceError::Unavailable("busy".into())),
        }
    }
}

#[async_trait]
impl OutputSink for Told {
    async fn state(&self, _: &str, _: RunState) -> Result<(), SourceError> {
        Ok(())
    }

    async fn task(&self, _: &str, _: TaskReport) -> Result<(), SourceError> {
        Ok(())
    }

    async fn access(&self, _: &str, _: RunUuid, _: u32, _: Access) -> Result<(), SourceError> {
        Ok(())
    }

    async fn log(&self, _: &str, _: LogName, lines: Bytes) -> Result<(), SourceError> {
        self.lines.lock().unwrap().push(lines);
        Ok(())
    }

    async fn output(
        &self,
        _: &str,
        path: String,
        mut body: mpsc::Receiver<Bytes>,
    ) -> Result<StagedOutput, SourceError> {
        if path == "bad" {
            return Err(SourceError::Invalid("no such path".into()));
        }
        let mut length = 0;
        while let Some(piece) = body.recv().await {
            length += piece.len();
        }
        self.outputs.lock().unwrap().push((path, length));
        Ok(StagedOutput { sha256: "00".into(), length: length as u64 })
    }

    async fn finish(&self, _: &str, _: RunReport) -> Result<(), SourceError> {
        *self.finished.lock().unwrap() = true;
        Ok(())
    }
}

struct Peer(UnixStream);

impl Peer {
    async fn connect(path: &Path) -> Self {
        Self(UnixStream::connect(path).await.unwrap())
    }

    /// The reply, or none when the server ended the connection.
    async fn ask(&mut self, request: RunRequest, payload: &[u8]) -> Option<(RunReply, Bytes)> {
        write_frame(&mut self.0, &request, payload).await.ok()?;
        read_frame(&mut self.0).await.ok()?
    }

    async fn hello(&mut self, token: &str) -> Option<(RunReply, Bytes)> {
        let token = token.to_owned();
        self.ask(RunRequest::Hello { version: PROTOCOL_VERSION, token }, &[]).await
    }
}

struct Served {
    told: Arc<Told>,
    path: std::path::PathBuf,
    task: tokio::task::JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn serve() -> Served {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("runs.sock");
    let told = Arc::new(Told::default());
    let listener = ExecBridge::bind(&path).unwrap();
    let bridge = ExecBridge::new(told.clone());
    let task = tokio::spawn(async move { bridge.serve(listener).await });
    Served { told, path, task, _directory: directory }
}

fn refused(answer: Option<(RunReply, Bytes)>) -> bool {
    match answer {
        Some((RunReply::Refused { fatal, .. }, _)) => fatal,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_token_comes_first() {
    let served = serve();
    assert!(refused(Peer::connect(&served.path).await.hello("wrong").await));
    assert!(refused(Peer::connect(&served.path).await.ask(RunRequest::Spec, &[]).await));
    let old = RunRequest::Hello { version: 999, token: "good".into() };
    assert!(refused(Peer::connect(&served.path).await.ask(old, &[]).await));
    // A busy vault is no refusal: the peer finds the connection ended and comes again.
    assert!(Peer::connect(&served.path).await.hello("busy").await.is_none());
    let mut peer = Peer::connect(&served.path).await;
    assert!(matches!(peer.hello("good").await, Some((RunReply::Done, _))));
    assert!(matches!(peer.ask(RunRequest::Spec, &[]).await, Some((RunReply::Spec(_), _))));
    let zip = peer.ask(RunRequest::Definition { offset: 1, length: 9 }, &[]).await.unwrap();
    assert_eq!(zip.1, "ip");
    let read = |input| RunRequest::Read { input, offset: 0, length: 1 };
    assert!(!refused(peer.ask(read(0), &[]).await));
    assert!(refused(peer.ask(read(1), &[]).await));
    assert!(peer.ask(read(2), &[]).await.is_none());
}

#[tokio::test]
async fn logs_pass_an_output_that_is_under_way() {
    let served = serve();
    let mut peer = Peer::connect(&served.path).await;
    peer.hello("good").await.unwrap();
    let begin = |path: &str| RunRequest::OutputBegin { path: path.into() };
    assert!(!refused(peer.ask(RunRequest::OutputData, b"x").await));
    peer.ask(begin("out/abandoned"), &[]).await.unwrap();
    peer.ask(RunRequest::OutputData, b"1234").await.unwrap();
    peer.ask(begin("out/a"), &[]).await.unwrap();
    peer.ask(RunRequest::OutputData, b"12").await.unwrap();
    peer.ask(RunRequest::Log { log: LogName::Run }, b"line\n").await.unwrap();
    peer.ask(RunRequest::OutputData, b"345").await.unwrap();
    let end = peer.ask(RunRequest::OutputEnd, &[]).await.unwrap();
    assert!(matches!(end.0, RunReply::Output { length: 5, .. }));
    assert!(!refused(peer.ask(RunRequest::OutputEnd, &[]).await));
    assert_eq!(*served.told.outputs.lock().unwrap(), [("out/a".to_owned(), 5)]);
    assert_eq!(*served.told.lines.lock().unwrap(), ["line\n"]);
    peer.ask(begin("bad"), &[]).await.unwrap();
    assert!(!refused(peer.ask(RunRequest::OutputEnd, &[]).await));
    let report = RunReport {
        outcome: RunOutcome::Completed,
        outputs: None,
        engine_digest: String::new(),
        engine_version: String::new(),
        scratch_peak_bytes: 0,
    };
    peer.ask(RunRequest::Finish(Box::new(report)), &[]).await.unwrap();
    assert!(*served.told.finished.lock().unwrap());
}

#[tokio::test]
async fn an_output_that_is_cut_off_is_never_taken_for_whole() {
    let served = serve();
    for _ in 0..20 {
        let mut peer = Peer::connect(&served.path).await;
        peer.hello("good").await.unwrap();
        peer.ask(RunRequest::OutputBegin { path: "out/a".into() }, &[]).await.unwrap();
        peer.ask(RunRequest::OutputData, b"half").await.unwrap();
        drop(peer);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(served.told.outputs.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_file_is_not() {
    let served = serve();
    drop(ExecBridge::bind(&served.path).unwrap());
    let file = served.path.with_extension("txt");
    fs::write(&file, "kept").unwrap();
    ExecBridge::bind(&file).unwrap_err();
    assert_eq!(fs::read(&file).unwrap(), b"kept");
}
