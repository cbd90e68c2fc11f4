//! A server of the run conversation on a socket of its own, with bytes that nobody can guess.

use std::{
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use readvault_exec_protocol::{
    agent::{Language, RunResources},
    run::{InputSpec, READ_BYTES_MAX, RunReply, RunRequest, RunSpec, Staging},
};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::shim::frame::{read_frame, write_frame};

pub(super) const TOKEN: &str = "open sesame";

/// What all incarnations of the server share.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) files: Vec<Vec<u8>>,
    /// Every this-many-th read is answered with one byte too few; never when zero.
    pub(super) short_every: usize,
    pub(super) reads: AtomicUsize,
    pub(super) log: Mutex<Vec<RunRequest>>,
}

impl Store {
    /// Files of these lengths.
    pub(super) fn new(lengths: &[usize]) -> Self {
        let files = lengths.iter().enumerate().map(|(seed, length)| noise(seed, *length));
        Self { files: files.collect(), ..Self::default() }
    }

    pub(super) fn digest(&self, file: usize) -> String {
        hex::encode(Sha256::digest(&self.files[file]))
    }

    pub(super) fn path(&self, file: usize) -> String {
        format!("{}/file{file}.bin", self.digest(file))
    }

    fn spec(&self) -> RunSpec {
        let input = |(index, bytes): (usize, &Vec<u8>)| InputSpec {
            uri: format!("s3://bucket/file{index}.bin"),
            name: format!("file{index}.bin"),
            length: bytes.len() as u64,
            digest: self.digest(index),
            staging: Staging::Mount,
        };
        RunSpec {
            run: Uuid::nil(),
            run_id: "1".into(),
            run_arn: "arn".into(),
            region: "r".into(),
            language: Language::Wdl,
            main: "main.wdl".into(),
            definition_bytes: 0,
            definition_sha256: String::new(),
            parameters: serde_json::Value::Null,
            inputs: self.files.iter().enumerate().map(input).collect(),
            resources: RunResources { cpus: 1, memory_bytes: 1, scratch_bytes: 1, seconds_max: 1 },
            images: Vec::new(),
        }
    }

    fn answer(&self, request: &RunRequest) -> (RunReply, &[u8]) {
        match request {
            RunRequest::Spec => (RunReply::Spec(Box::new(self.spec())), &[]),
            RunRequest::Read { input, offset, length } => {
                assert!(*length <= READ_BYTES_MAX && *length > 0);
                let file = &self.files[*input as usize];
                let start = usize::try_from(*offset).unwrap();
                let mut end = file.len().min(start + *length as usize);
                let number = self.reads.fetch_add(1, Ordering::SeqCst) + 1;
                if self.short_every > 0 && number.is_multiple_of(self.short_every) {
                    end -= 1;
                }
                (RunReply::Data, &file[start..end])
            }
            _ => (RunReply::Done, &[]),
        }
    }
}

/// One incarnation of the server.
#[derive(Debug)]
pub(super) struct Peer {
    socket: PathBuf,
    stopping: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<UnixStream>>>,
    listening: JoinHandle<()>,
}

impl Peer {
    pub(super) fn start(socket: &Path, store: &Arc<Store>) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let stopping = Arc::new(AtomicBool::new(false));
        let streams = Arc::new(Mutex::new(Vec::new()));
        let (stop, all, store) = (Arc::clone(&stopping), Arc::clone(&streams), Arc::clone(store));
        let listening = thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                all.lock().unwrap().push(stream.try_clone().unwrap());
                let store = Arc::clone(&store);
                thread::spawn(move || converse(&stream, &store));
            }
        });
        Self { socket: socket.to_owned(), stopping, streams, listening }
    }

    /// Ends at once, in the middle of whatever is being sent.
    pub(super) fn kill(self) {
        self.stopping.store(true, Ordering::SeqCst);
        UnixStream::connect(&self.socket).unwrap();
        self.listening.join().unwrap();
        std::fs::remove_file(&self.socket).unwrap();
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn converse(stream: &UnixStream, store: &Store) {
    let mut greeted = false;
    while let Ok(Some((request, _))) = read_frame::<RunRequest>(stream) {
        let (reply, payload) = match &request {
            RunRequest::Hello { token, .. } if token == TOKEN => {
                greeted = true;
                (RunReply::Done, &[][..])
            }
            _ if greeted => store.answer(&request),
            _ => (RunReply::Refused { reason: "no such run".into(), fatal: true }, &[][..]),
        };
        let sent = write_frame(stream, &reply, payload);
        store.log.lock().unwrap().push(request);
        if sent.is_err() {
            return;
        }
    }
}

/// Bytes of a generator (xorshift) that no mistake in offsets leaves unnoticed.
fn noise(seed: usize, length: usize) -> Vec<u8> {
    let mut state = seed as u64 * 0x9e37_79b9 + 88_172_645_463_325_252;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..length.div_ceil(8)).flat_map(|_| next()).collect();
    bytes.truncate(length);
    bytes
}
