//! A node under test: a real agent with images of its own.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use readvault_exec_protocol::{
    PROTOCOL_VERSION,
    agent::{AgentReply, AgentRequest, Language, RunResources, RunTicket},
    frame::{read_frame, write_frame},
};
use tokio::net::UnixStream;
use uuid::Uuid;

use crate::{
    image,
    server::{self, Heard, Plan, Server},
};

/// What an engine's image runs as miniwdl: the definition itself, a shell script.
const ENGINE: &str = "#!/bin/sh\nfor last; do :; done\nexec sh \"$last\"\n";

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(25);

pub(crate) struct Node {
    pub dir: tempfile::TempDir,
    agent: Child,
}

/// A node, or none, with the reason printed, where runs can't be tried.
pub(crate) async fn node() -> Option<Node> {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: not root");
        return None;
    }
    if !image::possible() {
        println!("skipped: no /bin/busybox (Debian package busybox-static)");
        return None;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let agent = launch(dir.path());
    let mut node = Node { dir, agent };
    node.ready().await;
    let (tools, engine) = (node.dir.path().join("tools"), node.dir.path().join("engine"));
    image::layout(&tools, &[]);
    image::layout(&engine, &[("bin/miniwdl", 0o755, ENGINE.as_bytes().to_vec())]);
    let import = AgentRequest::ImportImage { layout: tools, name: "tools:1".to_owned() };
    assert!(matches!(node.ask(import).await, AgentReply::Imported(_)));
    let add = AgentRequest::AddEngine { language: Language::Wdl, layout: engine };
    assert!(matches!(node.ask(add).await, AgentReply::Imported(_)));
    Some(node)
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_readvault-exec"))
}

fn launch(dir: &Path) -> Child {
    Command::new(program())
        .arg("agent")
        .arg("--state")
        .arg(dir.join("state"))
        .arg("--socket")
        .arg(dir.join("agent.sock"))
        .args(["--server-uid", "0"])
        .stdin(Stdio::null())
        .spawn()
        .expect("an agent")
}

impl Node {
    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    async fn ready(&mut self) {
        let socket = self.dir.path().join("agent.sock");
        for _ in 0..1000 {
            if UnixStream::connect(&socket).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("the agent is not ready");
    }

    pub(crate) async fn ask(&self, request: AgentRequest) -> AgentReply {
        let mut stream =
            UnixStream::connect(self.dir.path().join("agent.sock")).await.expect("connected");
        for request in [AgentRequest::Hello { version: PROTOCOL_VERSION }, request] {
            write_frame(&mut stream, &request, &[]).await.expect("asked");
            let reply: Option<(AgentReply, _)> = read_frame(&mut stream).await.expect("answered");
            match reply.expect("a reply").0 {
                AgentReply::Hello { .. } => {}
                reply => return reply,
            }
        }
        unreachable!("the second request is no hello")
    }

    /// Starts a run whose engine executes `script`.
    pub(crate) async fn start(&self, script: &str, inputs: Vec<(&str, Vec<u8>)>) -> Server {
        self.start_with(script, inputs, resources()).await
    }

    /// Starts a run of a real WDL.
    pub(crate) async fn start_named(
        &self,
        script: &str,
        inputs: Vec<(&str, Vec<u8>)>,
        parameters: serde_json::Value,
    ) -> Server {
        self.launch(script, inputs, (resources(), parameters)).await
    }

    pub(crate) async fn start_with(
        &self,
        script: &str,
        inputs: Vec<(&str, Vec<u8>)>,
        resources: RunResources,
    ) -> Server {
        let parameters = match inputs.len() {
            0 => serde_json::json!({}),
            _ => serde_json::json!({ "w.file": { "$input": 0 } }),
        };
        self.launch(script, inputs, (resources, parameters)).await
    }

    async fn launch(
        &self,
        script: &str,
        inputs: Vec<(&str, Vec<u8>)>,
        (resources, parameters): (RunResources, serde_json::Value),
    ) -> Server {
        let plan = Plan {
            run: Uuid::from_bytes(readvault_ambient::random(&readvault_ambient::System)),
            main: script,
            parameters,
            inputs,
            resources,
        };
        let server = server::start(self.dir.path(), plan);
        let ticket = RunTicket {
            run: server.spec.run,
            attempt: 1,
            token: "secret".to_owned(),
            server: server.socket.clone(),
            resources,
        };
        let reply = self.ask(AgentRequest::Start(Box::new(ticket))).await;
        assert!(matches!(reply, AgentReply::Done), "{reply:?}");
        server
    }

    pub(crate) async fn cancel(&self, run: Uuid, grace_ms: u64) {
        self.ask(AgentRequest::Cancel { run, grace_ms }).await;
    }

    /// Kills the agent as a crash would.
    pub(crate) fn kill_agent(&mut self) {
        self.agent.kill().expect("killed");
        self.agent.wait().expect("reaped");
    }

    /// Starts another agent on the same state.
    pub(crate) async fn restart_agent(&mut self) {
        self.agent = launch(self.dir.path());
        self.ready().await;
    }

    /// Waits until `readvault-exec leftovers` finds nothing of `run`, and says what it saw last.
    pub(crate) async fn nothing_left(&self, run: Uuid) {
        let mut said = String::new();
        for _ in 0..400 {
            let output = Command::new(program())
                .args(["leftovers", "--run", &run.to_string(), "--state"])
                .arg(self.state())
                .output()
                .expect("leftovers");
            if output.status.success() {
                return;
            }
            said = String::from_utf8_lossy(&output.stdout).into_owned();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("left of {run}:\n{said}");
    }

    /// The supervisor of `run`: the process in its `svc` group that was started by the agent.
    pub(crate) fn supervisor(&self, run: Uuid) -> i32 {
        let name = std::fs::read_to_string(self.state().join("instance")).expect("a name");
        let cgroups = readvault_workflow_exec::cgroup::Cgroups::detect().expect("groups");
        let group = cgroups.group(&format!("readvault-{name}/run-{run}/svc"));
        let pids = group.pids();
        let supervises = |pid: &i32| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.ends_with(b"\0supervise\0"))
        };
        pids.into_iter().find(supervises).expect("a supervisor")
    }

    /// The sandbox helpers of `run`.
    pub(crate) fn helpers(&self, run: Uuid) -> Vec<i32> {
        let supervisor = self.supervisor(run);
        let children = format!("/proc/{supervisor}/task/{supervisor}/children");
        let listed = std::fs::read_to_string(children).unwrap_or_default();
        listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.agent.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.agent.wait();
        // What the agent made and nothing uses any more.
        if let Ok(name) = std::fs::read_to_string(self.state().join("instance"))
            && let Ok(cgroups) = readvault_workflow_exec::cgroup::Cgroups::detect()
        {
            let _ = cgroups.group(&format!("readvault-{name}")).remove();
        }
    }
}

pub(crate) fn resources() -> RunResources {
    RunResources { cpus: 2, memory_bytes: 512 << 20, scratch_bytes: 256 << 20, seconds_max: 120 }
}

impl Server {
    /// Waits until `done` holds of what was heard.
    pub(crate) async fn until(&mut self, what: &str, done: impl FnMut(&Heard) -> bool) -> Heard {
        if let Ok(Ok(heard)) = tokio::time::timeout(PATIENCE, self.heard.wait_for(done)).await {
            return heard.clone();
        }
        panic!("{what}: {:#?}", self.heard.borrow());
    }

    /// Waits for the run's end.
    pub(crate) async fn end(&mut self) -> Heard {
        self.until("no end", |heard| heard.report.is_some()).await
    }
}
