//! Real runs: agent, supervisor, sandbox and shim as built, against a peer that plays the server and an
//! engine that is a shell script. As root only.

use readvault_exec_protocol::{
    agent::RunResources,
    run::{RunOutcome, RunState, TaskState},
};

mod image;
mod miniwdl;
mod node;
mod server;

use node::node;

/// What most scripts begin with: `t ARGS… -- COMMAND` runs a task in `$R/run/call-t/work`.
const PRELUDE: &str = r#"
set -eu
R=/mnt/workflow/$AWS_WORKFLOW_RUN_UUID
W=$R/run/call-t/work
mkdir -p "$W" "$R/run/out/x"
t() { docker run --rm -w /w -v "$W:/w" "$@"; }
done_with() { # NAME: the task's file of this name is the output x
  ln -s "../../call-t/work/$1" "$R/run/out/x/$1"
  echo "{\"w.x\": \"$R/run/out/x/$1\"}" > "$R/run/outputs.json"
}
"#;

fn script(body: &str) -> String {
    format!("{PRELUDE}{body}")
}

#[tokio::test]
async fn a_run_reads_an_input_and_leaves_its_output_and_nothing_else() {
    let Some(node) = node().await else { return };
    let body = r#"
IN=$(sed -n 's/.*: "\(.*\)".*/\1/p' /mnt/workflow/engine/inputs.json)
t -v "$IN:/in/data.txt:ro" tools:1 sh -c 'cat /in/data.txt | wc -c > n.txt; echo said; echo wrong >&2; env > env.txt'
cat "$W/env.txt" >&2
done_with n.txt
"#;
    let data = vec![b'x'; 3_000_000];
    let mut run = node.start(&script(body), vec![("data.txt", data)]).await;
    let heard = run.end().await;
    let report = heard.report.clone().expect("a report");
    assert_eq!(report.outcome, RunOutcome::Completed, "{heard:#?}");
    assert_eq!(heard.outputs["out/x/n.txt"], b"3000000\n");
    assert_eq!(report.outputs, Some(serde_json::json!({"w.x": {"$output": "out/x/n.txt"}})));
    let tasks = heard.ended();
    assert_eq!(tasks.len(), 1);
    assert_eq!(tasks[0].state, TaskState::Completed);
    assert_eq!((tasks[0].name.as_str(), tasks[0].exit_code), ("t", Some(0)));
    assert!(tasks[0].image_digest.starts_with("sha256:"));
    assert_eq!(heard.accesses, [(tasks[0].task, 0)]);
    let log = heard.log(&tasks[0].task.to_string());
    assert!(log.contains("said\n") && log.contains("wrong\n"), "{log}");
    let environment = heard.log("engine");
    assert!(environment.contains("AWS_WORKFLOW_RUN_ID=1234567"), "{environment}");
    assert!(environment.contains("AWS_WORKFLOW_TASK=arn:aws:omics:us-east-1:111122223333:task/"));
    assert!(heard.outputs.contains_key("logs/engine.log"));
    assert_eq!(heard.states, [RunState::Starting, RunState::Running, RunState::Stopping]);
    assert_eq!(report.engine_version, "miniwdl 0.0.1");
    node.nothing_left(run.spec.run).await;
}

#[tokio::test]
async fn a_failed_task_is_named_with_its_last_words() {
    let Some(node) = node().await else { return };
    let body = "t tools:1 sh -c 'echo it is broken >&2; exit 7'\n";
    let mut run = node.start(&script(body), Vec::new()).await;
    let heard = run.end().await;
    assert_eq!(failure(&heard).0, "RUN_TASK_FAILED");
    let message = failure(&heard).1;
    assert!(message.contains("task t ended with exit code 7"), "{message}");
    assert!(message.contains("it is broken"), "{message}");
    assert_eq!(heard.ended()[0].state, TaskState::Failed);
    node.nothing_left(run.spec.run).await;
}

#[tokio::test]
async fn what_is_not_allowed_is_refused_by_name() {
    let Some(node) = node().await else { return };
    for (arguments, words) in [
        ("--privileged tools:1 true", "privileged"),
        ("--cap-add SYS_ADMIN tools:1 true", "cap-add"),
        ("--pid=host tools:1 true", "pid"),
        ("--network host tools:1 true", "net"),
        ("--device /dev/fuse tools:1 true", "device"),
        ("-v /etc:/x tools:1 true", "outside of the run"),
        ("-v /mnt/workflow/../../etc:/x tools:1 true", "outside of the run"),
        ("-v \"$R/link:/x\" tools:1 true", "outside of the run"),
        ("-v \"$W:/proc/x\" tools:1 true", "/proc/x is not allowed"),
        ("nothing:1 true", "nothing:1"),
        ("--memory 100g tools:1 true", "memory"),
    ] {
        let body = format!("ln -s /etc \"$R/link\"\nt {arguments}\n");
        let mut run = node.start(&script(&body), Vec::new()).await;
        let heard = run.end().await;
        let (_, message) = failure(&heard);
        assert!(message.contains(words), "{arguments}: {message}");
        let ran = heard.tasks.iter().any(|task| task.state == TaskState::Running);
        assert!(!ran, "{arguments}");
        node.nothing_left(run.spec.run).await;
    }
}

#[tokio::test]
async fn a_task_sees_nothing_but_its_own() {
    let Some(node) = node().await else { return };
    let body = r#"
cat > "$W/probe.sh" <<'END'
try() { if "$@" >/dev/null 2>&1; then echo "POSSIBLE: $*"; else echo "refused: $*"; fi; }
grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status
echo "links: $(ls /sys/class/net 2>/dev/null | tr '\n' ' ')$(grep -c : /proc/net/dev)"
echo "processes: $(ls -d /proc/[0-9]* | wc -l)"
try mount -t tmpfs none /tmp
try umount /w
try unshare -r true
try unshare -m true
try mknod /tmp/vda b 254 0
try chroot / true
try sh -c 'echo x > /bin/sh'
try sh -c 'echo x > /etc/passwd'
try sh -c 'echo x > /proc/sys/kernel/core_pattern'
try sh -c 'echo b > /proc/sysrq-trigger'
try cat /proc/kcore
try sh -c 'cat /proc/keys | grep -q .'
try sh -c 'cat /proc/1/environ | grep -q .'
try ls /run/rv/supervisor.sock
try ls /mnt/workflow
try nc -w 1 127.0.0.1 22
try nc -w 1 169.254.169.254 80
try sh -c 'ls /sys/fs/cgroup/* | grep -q .'
try dd if=/dev/vda of=/dev/null count=1
try hostname other
END
t tools:1 sh /w/probe.sh
echo '{}' > "$R/run/outputs.json"
"#;
    let mut run = node.start(&script(body), Vec::new()).await;
    let heard = run.end().await;
    assert_eq!(heard.report.as_ref().expect("a report").outcome, RunOutcome::Completed);
    let log = heard.log(&heard.ended()[0].task.to_string());
    println!("{log}");
    assert!(!log.contains("POSSIBLE"), "{log}");
    for line in [
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "links: 1",
    ] {
        assert!(log.contains(line), "{line} in {log}");
    }
    node.nothing_left(run.spec.run).await;
}

#[tokio::test]
async fn memory_beyond_the_request_ends_a_task_with_137() {
    let Some(node) = node().await else { return };
    let body = r#"
t --memory 64m tools:1 sh -c 'head -c 400000000 /dev/zero | tail -c 400000000 | wc -c; exit 0'
"#;
    let mut run = node.start(&script(body), Vec::new()).await;
    let heard = run.end().await;
    let tasks = heard.ended();
    assert_eq!((tasks[0].exit_code, tasks[0].out_of_memory), (Some(137), true), "{heard:#?}");
    assert_eq!(failure(&heard).0, "OUT_OF_MEMORY_ERROR");
    node.nothing_left(run.spec.run).await;
}

#[tokio::test]
async fn a_full_file_system_and_a_fork_bomb_end_their_run_only() {
    let Some(node) = node().await else { return };
    let body = "t tools:1 sh -c 'dd if=/dev/zero of=/w/big bs=1M count=400'\n";
    let mut run = node.start(&script(body), Vec::new()).await;
    let heard = run.end().await;
    assert_eq!(failure(&heard).0, "FILE_SYSTEM_OUT_OF_SPACE", "{:?}", failure(&heard));
    node.nothing_left(run.spec.run).await;
    let body = "t tools:1 sh -c 'b() { b | b & }; b; sleep 2; exit 3'\n";
    let mut run = node.start(&script(body), Vec::new()).await;
    let heard = run.end().await;
    assert!(failure(&heard).0 != "SERVICE_ERROR", "{:?}", failure(&heard));
    node.nothing_left(run.spec.run).await;
}

#[tokio::test]
async fn hostile_outputs_do_not_leave_the_run() {
    let Some(node) = node().await else { return };
    for (making, words) in [
        ("ln -s /etc/shadow \"$R/run/out/x/f\"", "can't be opened beneath the run"),
        ("ln -s ../../../../../../../../etc/shadow \"$R/run/out/x/f\"", "can't be opened beneath"),
        ("ln -s /proc/self/mem \"$R/run/out/x/f\"", "can't be opened beneath the run"),
        ("mknod \"$R/run/out/x/f\" p", "is not a regular file"),
        ("mkdir \"$R/run/out/x/f\"", "is not a regular file"),
    ] {
        let body = format!(
            "{making}\necho \"{{\\\"w.x\\\": \\\"$R/run/out/x/f\\\"}}\" > \"$R/run/outputs.json\"\n"
        );
        let mut run = node.start(&script(&body), Vec::new()).await;
        let heard = run.end().await;
        let (reason, message) = failure(&heard);
        assert_eq!(reason, "EXPORT_FAILED", "{message}");
        assert!(message.contains(words), "{making}: {message}");
        assert!(heard.outputs.is_empty());
        node.nothing_left(run.spec.run).await;
    }
}

#[tokio::test]
async fn cancel_and_timeout_end_a_run() {
    let Some(node) = node().await else { return };
    let body = "t tools:1 sh -c 'trap \"\" TERM; sleep 100'\n";
    let mut run = node.start(&script(body), Vec::new()).await;
    run.until("no task", running).await;
    node.cancel(run.spec.run, 200).await;
    let heard = run.end().await;
    assert_eq!(heard.report.as_ref().expect("a report").outcome, RunOutcome::Cancelled);
    assert_eq!(heard.ended()[0].state, TaskState::Cancelled);
    node.nothing_left(run.spec.run).await;
    let resources = RunResources { seconds_max: 2, ..node::resources() };
    let mut run = node.start_with(&script(body), Vec::new(), resources).await;
    let heard = run.end().await;
    assert_eq!(failure(&heard).0, "RUN_TIMED_OUT");
    node.nothing_left(run.spec.run).await;
}

#[tokio::test]
async fn kill_9_of_any_process_leaves_nothing() {
    let Some(mut node) = node().await else { return };
    let body = "t tools:1 sh -c 'sleep 100 & setsid sleep 100 & sleep 100'\n";
    for victim in ["helper", "supervisor", "agent", "both"] {
        let mut run = node.start(&script(body), Vec::new()).await;
        run.until("no task", running).await;
        let id = run.spec.run;
        let kill = |pid: i32| {
            let pid = nix::unistd::Pid::from_raw(pid);
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("killed");
        };
        match victim {
            // The youngest helper is the task's.
            "helper" => kill(node.helpers(id).into_iter().max().expect("a helper")),
            "supervisor" => kill(node.supervisor(id)),
            "agent" => node.kill_agent(),
            _ => {
                let supervisor = node.supervisor(id);
                node.kill_agent();
                kill(supervisor);
            }
        }
        if matches!(victim, "agent" | "both") {
            node.restart_agent().await;
        }
        node.nothing_left(id).await;
    }
}

fn running(heard: &server::Heard) -> bool {
    heard.tasks.iter().any(|task| task.state == TaskState::Running)
}

fn failure(heard: &server::Heard) -> (String, String) {
    match &heard.report.as_ref().expect("a report").outcome {
        RunOutcome::Failed { reason, message } => (reason.clone(), message.clone()),
        other => panic!("{other:?}: {heard:#?}"),
    }
}
