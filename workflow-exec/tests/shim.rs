//! The real shim against a supervisor that says what a test tells it to.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::symlink,
        net::{UnixListener, UnixStream},
        process::ExitStatusExt,
    },
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use readvault_workflow_exec::shim_protocol::{InspectReply, ShimReply, ShimRequest};
use serde_json::{Value, json};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_readvault-exec");
const PATIENCE: Duration = Duration::from_secs(10);

/// What came over the socket; none at the end of a conversation.
type Heard = Receiver<Option<(ShimRequest, Vec<u8>)>>;

/// Replies to a request, with their payloads.
type Answer = fn(&ShimRequest, &[u8]) -> Vec<(ShimReply, Vec<u8>)>;

struct Supervisor {
    directory: TempDir,
    heard: Heard,
}

impl Supervisor {
    /// Answers every request with what `answer` makes of it.
    fn start(answer: Answer) -> Self {
        let directory = tempfile::tempdir().unwrap();
        symlink(PROGRAM, directory.path().join("podman")).unwrap();
        let listener = UnixListener::bind(directory.path().join("socket")).unwrap();
        let (tell, heard) = sync_channel(1000);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, tell) = (stream.unwrap(), tell.clone());
                thread::spawn(move || {
                    while let Some((request, payload)) = receive(&stream) {
                        let replies = answer(&request, &payload);
                        tell.send(Some((request, payload))).unwrap();
                        for (reply, payload) in replies {
                            send(&stream, &reply, &payload);
                        }
                    }
                    tell.send(None).unwrap();
                });
            }
        });
        Self { directory, heard }
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        Command::new(self.directory.path().join("podman"))
            .args(arguments)
            .env("READVAULT_SHIM_SOCKET", self.directory.path().join("socket"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.spawn(arguments).wait_with_output().unwrap()
    }

    fn next(&self) -> Option<(ShimRequest, Vec<u8>)> {
        self.heard.recv_timeout(PATIENCE).expect("something is said in time")
    }
}

fn receive(mut stream: &UnixStream) -> Option<(ShimRequest, Vec<u8>)> {
    let mut lengths = [0; 8];
    stream.read_exact(&mut lengths).ok()?;
    let length = |part: &[u8]| u32::from_le_bytes(part.try_into().unwrap()) as usize;
    let (mut header, mut payload) =
        (vec![0; length(&lengths[..4])], vec![0; length(&lengths[4..])]);
    stream.read_exact(&mut header).ok()?;
    stream.read_exact(&mut payload).ok()?;
    Some((serde_json::from_slice(&header).unwrap(), payload))
}

fn send(mut stream: &UnixStream, reply: &ShimReply, payload: &[u8]) {
    let header = serde_json::to_vec(reply).unwrap();
    let mut frame = u32::try_from(header.len()).unwrap().to_le_bytes().to_vec();
    frame.extend(u32::try_from(payload.len()).unwrap().to_le_bytes());
    frame.extend(header);
    frame.extend(payload);
    let _ = stream.write_all(&frame);
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn exited(code: i32) -> (ShimReply, Vec<u8>) {
    (ShimReply::Exited { code }, Vec::new())
}

fn started() -> (ShimReply, Vec<u8>) {
    (ShimReply::Started { container: "c0ffee".into() }, Vec::new())
}

#[test]
fn a_run_carries_output_and_the_exit_code() {
    let supervisor = Supervisor::start(|_, _| {
        vec![
            started(),
            (ShimReply::Stdout, b"out\0\xff".to_vec()),
            (ShimReply::Stderr, b"err".to_vec()),
            exited(3),
        ]
    });
    let cidfile = supervisor.directory.path().join("cid");
    let cidfile_argument = format!("--cidfile={}", cidfile.display());
    let output = supervisor.output(&["run", "--rm", &cidfile_argument, "img:1", "cmd", "-x"]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        (output.stdout.as_slice(), output.stderr.as_slice()),
        (&b"out\0\xff"[..], &b"err"[..])
    );
    assert_eq!(fs::read_to_string(&cidfile).unwrap(), "c0ffee");
    let Some((ShimRequest::Run(container), _)) = supervisor.next() else { panic!() };
    assert_eq!(
        (container.image.as_str(), container.argv),
        ("img:1", vec!["cmd".into(), "-x".into()])
    );
    // As docker: an id file is never overwritten.
    let output = supervisor.output(&["run", &cidfile_argument, "img:1"]);
    assert_eq!(output.status.code(), Some(125));
}

#[test]
fn codes_are_dockers() {
    let refused = |request: &ShimRequest, _: &[u8]| {
        let code = match request {
            ShimRequest::Run(container) => container.argv[0].parse().unwrap(),
            _ => 125,
        };
        vec![(ShimReply::Refused { reason: "because".into(), code }, Vec::new())]
    };
    let supervisor = Supervisor::start(refused);
    for (arguments, code) in [
        (&["run", "i", "125"][..], 125),
        (&["run", "i", "126"], 126),
        (&["run", "i", "127"], 127),
        (&["run", "i", "0"], 125),
        (&["pull", "i"], 125),
        (&["inspect", "i"], 1),
    ] {
        let output = supervisor.output(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert_eq!(text(&output.stderr), "Error: because\n");
    }
    let supervisor = Supervisor::start(|_, _| vec![exited(137)]);
    assert_eq!(supervisor.output(&["run", "i"]).status.code(), Some(137));
}

#[test]
fn a_refused_flag_reaches_the_supervisor_and_standard_error() {
    let supervisor = Supervisor::start(|_, _| vec![(ShimReply::Done, Vec::new())]);
    let output = supervisor.output(&["run", "--privileged", "img", "cmd"]);
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(text(&output.stderr), "Error: --privileged: tasks have no privileges\n");
    let Some((ShimRequest::RefusedFlag { reason }, _)) = supervisor.next() else { panic!() };
    assert_eq!(reason, "--privileged: tasks have no privileges");
}

#[test]
fn standard_input_is_carried_when_it_is_asked_for() {
    let supervisor = Supervisor::start(|request, payload| match request {
        ShimRequest::Run(_) => vec![started()],
        ShimRequest::Stdin => vec![(ShimReply::Stdout, payload.to_vec())],
        ShimRequest::StdinEnd => vec![exited(0)],
        _ => panic!("{request:?}"),
    });
    let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut child = supervisor.spawn(&["run", "-i", "img", "cat"]);
    let mut input = child.stdin.take().unwrap();
    let sent = content.clone();
    let writer = thread::spawn(move || input.write_all(&sent).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success() && output.stdout == content);
}

#[test]
fn the_first_sigterm_stops_and_repeats_are_ignored() {
    let supervisor = Supervisor::start(|request, _| match request {
        ShimRequest::Run(_) => vec![started()],
        // Answers late, as a task that takes its time to end.
        ShimRequest::Stop { .. } => {
            thread::sleep(Duration::from_millis(500));
            vec![exited(143)]
        }
        _ => Vec::new(),
    });
    let child = supervisor.spawn(&["run", "img", "sleep", "100"]);
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    assert!(matches!(supervisor.next(), Some((ShimRequest::Run(_), _))));
    kill(pid, Signal::SIGUSR1).unwrap();
    let forwarded = ShimRequest::Signal { signal: Signal::SIGUSR1 as i32 };
    assert_eq!(format!("{:?}", supervisor.next().unwrap().0), format!("{forwarded:?}"));
    for _ in 0..3 {
        kill(pid, Signal::SIGTERM).unwrap();
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(143));
    assert!(matches!(supervisor.next(), Some((ShimRequest::Stop { name }, _)) if name.is_empty()));
    assert!(supervisor.next().is_none());
}

#[test]
fn either_end_may_die() {
    let supervisor = Supervisor::start(|_, _| vec![started()]);
    let mut child = supervisor.spawn(&["run", "img"]);
    assert!(supervisor.next().is_some());
    child.kill().unwrap();
    assert!(supervisor.next().is_none(), "the supervisor sees the end of the connection");
    assert_eq!(child.wait().unwrap().signal(), Some(9));

    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["shim", "run", "img"]).env("READVAULT_SHIM_SOCKET", &socket);
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    let (stream, _) = listener.accept().unwrap();
    assert!(receive(&stream).is_some());
    drop((stream, listener));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(text(&output.stderr), "Error: the run's supervisor is gone\n");
    // Nobody listens any more.
    assert_eq!(command.output().unwrap().status.code(), Some(125));
}

#[test]
fn what_engines_parse_has_dockers_shape() {
    let supervisor = Supervisor::start(|request, _| {
        let reply = match request {
            ShimRequest::Inspect { name } => ShimReply::Inspect(InspectReply::Image {
                name: format!("{name}:1"),
                digest: "sha256:d".into(),
                config_digest: "sha256:c".into(),
                config: Box::new(json!({"os": "linux", "config": {"Entrypoint": ["/e"]}})),
            }),
            ShimRequest::Images => {
                ShimReply::Images { images: vec![("h:5/a/b:1".into(), "sha256:d".into())] }
            }
            ShimRequest::Stats { .. } => ShimReply::Stats {
                container: "c".into(),
                memory_bytes: 50,
                memory_bytes_max: 200,
                cpu_seconds: 1.0,
                pids: 2,
            },
            _ => ShimReply::Done,
        };
        vec![(reply, Vec::new())]
    });
    let ask = |arguments: &[&str]| {
        let output = supervisor.output(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let found: Value = serde_json::from_str(&ask(&["inspect", "a", "b"])).unwrap();
    assert_eq!(found.as_array().unwrap().len(), 2);
    assert_eq!(found[0]["Id"], "sha256:c");
    assert_eq!(found[0]["RepoTags"], json!(["a:1"]));
    assert_eq!(found[1]["RepoDigests"], json!(["b@sha256:d"]));
    assert_eq!(found[0]["Config"]["Entrypoint"], json!(["/e"]));
    assert_eq!(ask(&["images"]), "REPOSITORY\tTAG\tDIGEST\nh:5/a/b\t1\tsha256:d\n");
    assert_eq!(ask(&["stats", "--no-stream", "--format", "{{.MemPerc}}", "c"]), "25.00%\n");
    assert_eq!(ask(&["rm", "nxf-1"]), "nxf-1\n");
    assert!(ask(&["--version"]).starts_with("podman version "));
}
