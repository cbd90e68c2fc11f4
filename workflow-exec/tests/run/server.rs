//! A peer that speaks the run conversation: it gives one run's inputs from memory and notes what it hears.

use std::{
    collections::BTreeMap,
    io::{Cursor, Write},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use readvault_exec_protocol::{
    agent::{Language, RunResources},
    frame::{read_frame, write_frame},
    run::{
        InputSpec, LogName, RunReply, RunReport, RunRequest, RunSpec, RunState, Staging, TaskReport,
    },
};
use sha2::{Digest, Sha256};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::watch,
};
use uuid::Uuid;

/// What a run was heard to say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    pub states: Vec<RunState>,
    pub tasks: Vec<TaskReport>,
    pub accesses: Vec<(Uuid, u32)>,
    pub logs: BTreeMap<String, String>,
    pub outputs: BTreeMap<String, Vec<u8>>,
    pub report: Option<RunReport>,
}

impl Heard {
    /// The last report of each task.
    pub(crate) fn ended(&self) -> Vec<TaskReport> {
        let mut last: BTreeMap<Uuid, TaskReport> = BTreeMap::new();
        for report in &self.tasks {
            last.insert(report.task, report.clone());
        }
        last.into_values().collect()
    }

    /// A log's text.
    pub(crate) fn log(&self, name: &str) -> &str {
        self.logs.get(name).map_or("", String::as_str)
    }
}

/// The peer of one run.
pub(crate) struct Server {
    pub socket: PathBuf,
    pub spec: RunSpec,
    pub heard: watch::Receiver<Heard>,
}

struct Shared {
    spec: RunSpec,
    token: String,
    definition: Vec<u8>,
    inputs: Vec<Vec<u8>>,
    heard: watch::Sender<Heard>,
    output: Mutex<Option<(String, Vec<u8>)>>,
}

/// What a test run is made of.
pub(crate) struct Plan<'a> {
    pub run: Uuid,
    pub main: &'a str,
    pub inputs: Vec<(&'a str, Vec<u8>)>,
    pub parameters: serde_json::Value,
    pub resources: RunResources,
}

/// Starts the peer in `dir`.
pub(crate) fn start(dir: &std::path::Path, plan: Plan<'_>) -> Server {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("main.wdl", zip::write::SimpleFileOptions::default()).expect("begun");
    zip.write_all(plan.main.as_bytes()).expect("written");
    let definition = zip.finish().expect("finished").into_inner();
    let inputs = plan.inputs.iter().map(|(name, bytes)| InputSpec {
        uri: format!("omics://test/{name}"),
        name: (*name).to_owned(),
        length: bytes.len() as u64,
        digest: hex::encode(Sha256::digest(bytes)),
        staging: Staging::Auto,
    });
    let spec = RunSpec {
        run: plan.run,
        run_id: "1234567".to_owned(),
        run_arn: "arn:aws:omics:us-east-1:111122223333:run/1234567".to_owned(),
        region: "us-east-1".to_owned(),
        language: Language::Wdl,
        main: "main.wdl".to_owned(),
        definition_bytes: definition.len() as u64,
        definition_sha256: hex::encode(Sha256::digest(&definition)),
        parameters: plan.parameters,
        inputs: inputs.collect(),
        resources: plan.resources,
        images: Vec::new(),
    };
    let (heard, hears) = watch::channel(Heard::default());
    let shared = Arc::new(Shared {
        spec: spec.clone(),
        token: "secret".to_owned(),
        definition,
        inputs: plan.inputs.into_iter().map(|(_, bytes)| bytes).collect(),
        heard,
        output: Mutex::new(None),
    });
    let socket = dir.join(format!("{}.sock", plan.run));
    let listener = UnixListener::bind(&socket).expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(Arc::clone(&shared), stream));
        }
    });
    Server { socket, spec, heard: hears }
}

async fn converse(shared: Arc<Shared>, mut stream: UnixStream) {
    while let Ok(Some((request, payload))) = read_frame::<_, RunRequest>(&mut stream).await {
        let (reply, bytes) = shared.answer(request, &payload);
        if write_frame(&mut stream, &reply, &bytes).await.is_err() {
            return;
        }
    }
}

impl Shared {
    fn answer(&self, request: RunRequest, payload: &[u8]) -> (RunReply, Vec<u8>) {
        let slice = |bytes: &[u8], offset: u64, length: u32| {
            let from = (offset as usize).min(bytes.len());
            let to = (from + length as usize).min(bytes.len());
            (RunReply::Data, bytes[from..to].to_vec())
        };
        match request {
            RunRequest::Hello { token, .. } if token != self.token => {
                let reason = "no such token".to_owned();
                return (RunReply::Refused { reason, fatal: true }, Vec::new());
            }
            RunRequest::Hello { .. } => {}
            RunRequest::Spec => return (RunReply::Spec(Box::new(self.spec.clone())), Vec::new()),
            RunRequest::Definition { offset, length } => {
                return slice(&self.definition, offset, length);
            }
            RunRequest::Read { input, offset, length } => {
                return slice(&self.inputs[input as usize], offset, length);
            }
            RunRequest::Task(report) => self.note(|heard| heard.tasks.push(*report)),
            RunRequest::Access { task, input, .. } => {
                self.note(|heard| heard.accesses.push((task, input)));
            }
            RunRequest::Log { log } => self.note(|heard| {
                let name = match log {
                    LogName::Run => "run".to_owned(),
                    LogName::Engine => "engine".to_owned(),
                    LogName::Task { task } => task.to_string(),
                };
                heard.logs.entry(name).or_default().push_str(&String::from_utf8_lossy(payload));
            }),
            RunRequest::State { state } => self.note(|heard| heard.states.push(state)),
            RunRequest::OutputBegin { path } => {
                *self.output.lock().expect("a lock") = Some((path, Vec::new()));
            }
            RunRequest::OutputData => {
                if let Some((_, bytes)) = &mut *self.output.lock().expect("a lock") {
                    bytes.extend_from_slice(payload);
                }
            }
            RunRequest::OutputEnd => {
                let (path, bytes) = self.output.lock().expect("a lock").take().expect("begun");
                let sha256 = hex::encode(Sha256::digest(&bytes));
                let length = bytes.len() as u64;
                self.note(|heard| {
                    heard.outputs.insert(path, bytes);
                });
                return (RunReply::Output { sha256, length }, Vec::new());
            }
            RunRequest::Finish(report) => self.note(|heard| heard.report = Some(*report)),
        }
        (RunReply::Done, Vec::new())
    }

    fn note(&self, change: impl FnOnce(&mut Heard)) {
        self.heard.send_modify(change);
    }
}
