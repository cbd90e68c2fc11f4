use super::*;
use crate::shim_protocol::Bind;

fn parse(line: &[&str]) -> Result<Invocation, Refusal> {
    Invocation::parse(line.iter().map(OsString::from))
}

fn run(line: &[&str]) -> RunContainer {
    match parse(line).unwrap() {
        Invocation::Run { container, .. } => *container,
        other => panic!("{other:?}"),
    }
}

fn bind(source: &str, target: &str, readonly: bool, create: bool) -> Bind {
    Bind { source: source.into(), target: target.into(), readonly, create }
}

#[test]
fn what_miniwdl_sends_is_understood() {
    let container = run(&[
        "run",
        "--rm",
        "--workdir",
        "/mnt/miniwdl_task_container/work",
        "--cpus",
        "1",
        "--memory",
        "512000000",
        "-v",
        "/r/work:/mnt/miniwdl_task_container/work",
        "-v",
        "/r/command:/mnt/miniwdl_task_container/command:ro",
        "tools:latest",
        "/bin/sh",
        "-c",
        "/bin/bash ../command >> ../stdout.txt 2>> ../stderr.txt",
    ]);
    assert_eq!(container.image, "tools:latest");
    assert_eq!(container.argv[..2], ["/bin/sh", "-c"]);
    assert_eq!(container.workdir.as_deref(), Some("/mnt/miniwdl_task_container/work"));
    assert_eq!((container.cpus, container.memory_bytes), (Some(1.0), Some(512_000_000)));
    let task = "/mnt/miniwdl_task_container";
    assert_eq!(
        container.binds,
        [
            bind("/r/work", &format!("{task}/work"), false, true),
            bind("/r/command", &format!("{task}/command"), true, true),
        ]
    );
}

#[test]
fn what_cwltool_sends_is_understood() {
    let line = ["run", "-i", "--mount=type=bind,source=/a,b,target=/c", "img"];
    assert!(parse(&line).is_err());
    let container = run(&[
        "run",
        "-i",
        "--mount=type=bind,source=/run/out,target=/var/spool/cwl",
        "--mount=type=bind,\"source=/run/a,b\",target=/c,readonly",
        "--workdir=/var/spool/cwl",
        "--read-only=true",
        "--net=none",
        "--log-driver=none",
        "--user=0:0",
        "--rm",
        "--cidfile=/tmp/x.cid",
        "--env=TMPDIR=/tmp",
        "--env=HOME=/var/spool/cwl",
        "img@sha256:0",
        "echo",
        "-i",
        "--privileged",
    ]);
    assert!(container.interactive && container.read_only);
    assert_eq!(container.network.as_deref(), Some("none"));
    assert_eq!(container.argv, ["echo", "-i", "--privileged"]);
    assert_eq!(container.binds[0], bind("/run/out", "/var/spool/cwl", false, false));
    assert_eq!(container.binds[1], bind("/run/a,b", "/c", true, false));
    assert_eq!(container.env[1], ("HOME".into(), "/var/spool/cwl".into()));
}

#[test]
fn what_nextflow_sends_is_understood() {
    let container = run(&[
        "run",
        "-i",
        "--cpu-shares",
        "2048",
        "--memory",
        "1024m",
        "-e",
        "RV_SURELY_UNSET",
        "-e",
        "NXF_DEBUG=0",
        "-v",
        "/in:/in:ro",
        "-v",
        "/in/task:/in/task",
        "-w",
        "/in/task",
        "--name",
        "nxf-AbC",
        "image",
        "/bin/bash",
        "/in/task/.command.run",
        "nxf_trace",
    ]);
    assert_eq!((container.cpus, container.memory_bytes), (Some(2.0), Some(1 << 30)));
    assert_eq!(container.env, [("NXF_DEBUG".into(), "0".into())]);
    assert_eq!(container.name.as_deref(), Some("nxf-AbC"));
}

#[test]
fn short_flags_cluster_and_take_values() {
    let container = run(&["run", "-itw", "/w", "-eA=1", "-m=1k", "--entrypoint", "", "i", "-c"]);
    assert!(container.interactive);
    assert_eq!(container.workdir.as_deref(), Some("/w"));
    assert_eq!(container.env, [("A".into(), "1".into())]);
    assert_eq!(container.memory_bytes, Some(1024));
    assert_eq!(container.entrypoint, Some(Vec::new()));
    assert_eq!(container.argv, ["-c"]);
}

#[test]
fn what_could_widen_a_sandbox_is_refused_by_name() {
    for (flags, named) in [
        (&["--privileged"][..], "--privileged"),
        (&["--privileged=true"], "--privileged"),
        (&["--cap-add", "SYS_ADMIN"], "--cap-add"),
        (&["--cap-add=ALL"], "--cap-add"),
        (&["--pid=host"], "--pid"),
        (&["--pid", "container:x"], "--pid"),
        (&["--ipc=host"], "--ipc"),
        (&["--uts=host"], "--uts"),
        (&["--userns=host"], "--userns"),
        (&["--cgroupns=host"], "--cgroupns"),
        (&["--net=host"], "--net"),
        (&["--network", "container:x"], "--network"),
        (&["--device=/dev/fuse"], "--device"),
        (&["--gpus", "all"], "--gpus"),
        (&["--security-opt", "seccomp=unconfined"], "--security-opt"),
        (&["--security-opt=no-new-privileges:false"], "--security-opt"),
        (&["-v", "name:/x"], "-v"),
        (&["-v", "/a:/b:shared"], "-v"),
        (&["-v", "/a:/b:ro:c"], "-v"),
        (&["-v", "/only"], "-v"),
        (&["--mount", "type=volume,source=/a,target=/b"], "--mount"),
        (&["--mount", "type=bind,source=/a,target=/b,bind-propagation=shared"], "--mount"),
        (&["--volumes-from", "x"], "--volumes-from"),
        (&["-p", "80:80"], "-p"),
        (&["-d"], "-d"),
        (&["-itd"], "-d"),
        (&["--made-up"], "--made-up"),
        (&["-Z"], "-Z"),
        (&["--memory", "lots"], "--memory"),
        (&["--memory", "-1"], "--memory"),
        (&["--cpus", "NaN"], "--cpus"),
        (&["--platform", "linux/s390x"], "--platform"),
    ] {
        let line: Vec<&str> = ["run"].iter().chain(flags).chain(&["image"]).copied().collect();
        let Refusal(reason) = parse(&line).expect_err(&format!("{flags:?}"));
        assert!(reason.contains(named), "{flags:?}: {reason}");
    }
    assert_eq!(run(&["run", "--privileged=false", "image"]).image, "image");
}

#[test]
fn other_commands_ask_one_question_a_name() {
    for (line, expected) in [
        (&["pull", "-q", "a:b"][..], "[Pull { image: \"a:b\" }]"),
        (&["inspect", "x", "y"], "[Inspect { name: \"x\" }, Inspect { name: \"y\" }]"),
        (&["image", "inspect", "x"], "[Inspect { name: \"x\" }]"),
        (&["image", "ls", "-q"], "[Images]"),
        (&["stop", "-t", "5", "x"], "[Stop { name: \"x\" }]"),
        (&["kill", "-s", "TERM", "x"], "[Kill { name: \"x\", signal: 15 }]"),
        (&["kill", "--signal=SIGINT", "x"], "[Kill { name: \"x\", signal: 2 }]"),
        (&["kill", "x"], "[Kill { name: \"x\", signal: 9 }]"),
        (&["rm", "-f", "x"], "[Remove { name: \"x\" }]"),
        (&["stats", "--no-stream", "--format", "{{.MemPerc}}", "x"], "[Stats { name: \"x\" }]"),
    ] {
        match parse(line).unwrap() {
            Invocation::Ask { requests, .. } => assert_eq!(format!("{requests:?}"), expected),
            other => panic!("{line:?}: {other:?}"),
        }
    }
    for line in [
        &["exec", "x", "sh"][..],
        &["cp", "a", "b"],
        &["build", "."],
        &["kill", "-s", "WAT", "x"],
        &["kill", "-s", "0", "x"],
        &["stop"],
        &["run"],
        &[],
        &["inspect", "--format", "{{.Id}}", "x"],
    ] {
        assert!(parse(line).is_err(), "{line:?}");
    }
}
