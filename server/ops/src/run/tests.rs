//! Runs from StartRun to their end, over a vault in memory and a node that this test plays.

mod harness;

use std::collections::BTreeMap;

use bytes::Bytes;
use harness::{Harness, INPUT, zip_of};
use readvault_exec_protocol::{
    run::{Access, LogName, RunOutcome, RunReport, RunState, TaskReport, TaskState},
    sink::OutputSink,
    source::{ReadSetSource, SourceError},
};
use serde_json::json;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{RunStatus, Runs};
use crate::{
    FaultKind,
    dispatch::reconcile::Seen,
    listing::PageOf,
    run_log::{
        self,
        events::{Direction, EventsQuery, Position, events},
    },
    workflow::{WorkflowStatus, create::CreateWorkflow},
};

fn report(outcome: RunOutcome, outputs: Option<serde_json::Value>) -> RunReport {
    RunReport {
        outcome,
        outputs,
        engine_digest: "sha256:e".into(),
        engine_version: "miniwdl 1".into(),
        scratch_peak_bytes: 10,
    }
}

fn task(task: Uuid, state: TaskState) -> TaskReport {
    TaskReport {
        task,
        state,
        name: "t".into(),
        image: "tools:1".into(),
        image_digest: "sha256:i".into(),
        argv: vec!["sh".into()],
        cpus: 1.0,
        memory_bytes: 1 << 30,
        exit_code: (state == TaskState::Completed).then_some(0),
        out_of_memory: false,
        memory_peak_bytes: None,
        cpu_seconds: None,
        message: None,
        started_ms: Some(1),
        stopped_ms: None,
    }
}

async fn stage(runs: &Runs, token: &str, path: &str, bytes: &'static [u8]) {
    let (sender, receiver) = mpsc::channel(1);
    let feed = async {
        sender.send(Bytes::from_static(bytes)).await.unwrap();
        drop(sender);
    };
    let staged = runs.output(token, path.into(), receiver);
    let ((), staged) = tokio::join!(feed, staged);
    assert_eq!(staged.unwrap().length, bytes.len() as u64);
}

async fn lines(harness: &Harness, stream: &str) -> Vec<String> {
    let query = EventsQuery {
        direction: Direction::From(Position::default()),
        from_ms: 0,
        until_ms: u64::MAX,
        limit: 1000,
        terms: Vec::new(),
    };
    let page = events(harness.runs.core(), &harness.permit, stream, &query).await.unwrap();
    page.events.into_iter().map(|event| event.message).collect()
}

#[tokio::test]
async fn a_run_succeeds_and_its_outputs_appear_at_once() {
    let harness = Harness::new().await;
    let (run, token) = harness.started().await;
    let runs = &harness.runs;
    let spec = runs.open(&token).await.unwrap();
    assert_eq!(spec.parameters, json!({"reads": {"$input": 0}, "label": "x"}));
    assert_eq!(spec.inputs[0].name, "r.fq");
    assert_eq!(runs.read(&token, 0, 0, 1 << 20).await.unwrap(), INPUT);
    assert_eq!(runs.read(&token, 0, 1, 4).await.unwrap(), &INPUT[1..5]);
    let zip = runs.definition(&token, 0, 1 << 20).await.unwrap();
    assert_eq!(zip.len() as u64, spec.definition_bytes);
    runs.state(&token, RunState::Starting).await.unwrap();
    runs.state(&token, RunState::Running).await.unwrap();
    let id = Uuid::from_u128(7);
    for state in [TaskState::Running, TaskState::Completed, TaskState::Starting] {
        OutputSink::task(runs, &token, task(id, state)).await.unwrap();
    }
    runs.access(&token, id, 0, Access::Bound).await.unwrap();
    runs.log(&token, LogName::Engine, Bytes::from_static(b"one\ntwo\n")).await.unwrap();
    runs.log(&token, LogName::Task { task: id }, Bytes::from_static(b"out\n")).await.unwrap();
    runs.state(&token, RunState::Stopping).await.unwrap();
    stage(runs, &token, "out/o/a.txt", b"first").await;
    stage(runs, &token, "out/o/a.txt", b"result").await;
    let prefix = format!("p/{}", run.id);
    assert_eq!(harness.result(&format!("{prefix}/out/o/a.txt")).await, None);

    let missing = Some(json!({"w.o": {"$output": "out/o/missing"}}));
    let early = runs.finish(&token, report(RunOutcome::Completed, missing)).await;
    assert!(matches!(early, Err(SourceError::Invalid(_))), "{early:?}");
    let outputs = Some(json!({"w.o": {"$output": "out/o/a.txt"}}));
    runs.finish(&token, report(RunOutcome::Completed, outputs)).await.unwrap();

    let ended = harness.get(&run.id).await;
    assert_eq!(ended.status, RunStatus::Completed);
    assert!(ended.started_ms.is_some() && ended.token_sha256.is_none());
    let read = async |path: &str| harness.result_of(&prefix, path).await;
    assert_eq!(read("out/o/a.txt").await.unwrap(), b"result");
    assert_eq!(read("logs/engine.log").await.unwrap(), b"one\ntwo\n");
    let document: serde_json::Value =
        serde_json::from_slice(&read("logs/outputs.json").await.unwrap()).unwrap();
    assert_eq!(document["w.o"], format!("s3://results/{prefix}/out/o/a.txt"));
    let tasks = runs.tasks(&harness.permit, &run.id, None, &PageOf { limit: 9, after: None });
    let tasks = tasks.await.unwrap().items;
    assert_eq!((tasks.len(), tasks[0].status()), (1, "COMPLETED"));
    let task_lines = lines(&harness, &run_log::task_stream(&run.id, &tasks[0].id)).await;
    assert_eq!(task_lines, ["out"]);
    let manifest = lines(&harness, &run_log::manifest_stream(&run.id, run.uuid)).await;
    assert_eq!(manifest.len(), 2);
    assert!(manifest[0].contains("COMPLETED") && !manifest[0].contains("\"cpus\""));
    let record = runs.record(&harness.permit, &run.id).await.unwrap();
    assert_eq!(record["tasks"][0]["accesses"][0]["uri"], "s3://inputs/a/r.fq");
    assert_eq!(record["images"]["tools:1"], "sha256:i");
    assert_eq!(record["outputs"].as_array().unwrap().len(), 3);

    // Nothing of an ended run may be asked any more.
    assert!(matches!(runs.open(&token).await, Err(SourceError::Revoked(_))));
    assert!(matches!(runs.read(&token, 0, 0, 1).await, Err(SourceError::Revoked(_))));
    let again = runs.finish(&token, report(RunOutcome::Completed, None)).await;
    assert!(matches!(again, Err(SourceError::Revoked(_))));
}

#[tokio::test]
async fn a_token_opens_its_own_run_and_its_recorded_inputs_only() {
    let harness = Harness::new().await;
    let (first, first_token) = harness.started().await;
    let (second, second_token) = harness.started().await;
    let runs = &harness.runs;
    assert_ne!(first.uuid, second.uuid);
    assert_eq!(runs.open(&second_token).await.unwrap().run, second.uuid);
    let (_, secret) = second_token.split_once('.').unwrap();
    let crossed = format!("{}.{secret}", first.id);
    for bad in [crossed.as_str(), "", ".", "1.2", &first_token[..first_token.len() - 1], "../x.y"] {
        assert!(matches!(runs.open(bad).await, Err(SourceError::Revoked(_))), "{bad}");
    }
    let invalid = |result: Result<Bytes, SourceError>| {
        assert!(matches!(result, Err(SourceError::Invalid(_))), "{result:?}");
    };
    invalid(runs.read(&first_token, 1, 0, 1).await);
    invalid(runs.read(&first_token, u32::MAX, 0, 1).await);
    invalid(runs.read(&first_token, 0, u64::MAX, 1).await);
    invalid(runs.read(&first_token, 0, 0, (1 << 20) + 1).await);
    assert!(runs.read(&first_token, 0, INPUT.len() as u64, 9).await.unwrap().is_empty());
    let accessed = runs.access(&first_token, Uuid::nil(), 0, Access::Bound).await;
    assert!(matches!(accessed, Err(SourceError::Invalid(_))));
}

#[tokio::test]
async fn a_failed_run_exports_its_engine_log_alone() {
    let harness = Harness::new().await;
    let (run, token) = harness.started().await;
    let runs = &harness.runs;
    runs.state(&token, RunState::Running).await.unwrap();
    runs.log(&token, LogName::Engine, Bytes::from_static(b"boom\n")).await.unwrap();
    stage(runs, &token, "out/o/a.txt", b"half").await;
    let outcome =
        RunOutcome::Failed { reason: "RUN_TASK_FAILED".into(), message: "task t failed".into() };
    runs.finish(&token, report(outcome, None)).await.unwrap();
    let run = harness.get(&run.id).await;
    assert_eq!(run.status, RunStatus::Failed);
    assert_eq!(run.failure_reason.as_deref(), Some("RUN_TASK_FAILED"));
    let prefix = format!("p/{}", run.id);
    assert_eq!(harness.result_of(&prefix, "out/o/a.txt").await, None);
    assert_eq!(harness.result_of(&prefix, "logs/engine.log").await.unwrap(), b"boom\n");
}

#[tokio::test]
async fn a_cancelled_run_exports_nothing_whatever_its_supervisor_says() {
    let harness = Harness::new().await;
    let (run, token) = harness.started().await;
    let runs = &harness.runs;
    runs.state(&token, RunState::Running).await.unwrap();
    stage(runs, &token, "out/o/a.txt", b"result").await;
    runs.cancel(&harness.permit, &run.id).await.unwrap();
    assert_eq!(harness.get(&run.id).await.status, RunStatus::Stopping);
    assert_eq!(*harness.agent.cancelled.lock(), [run.uuid]);
    let twice = runs.cancel(&harness.permit, &run.id).await.unwrap_err();
    assert_eq!(twice.kind, FaultKind::Conflict);
    let early = runs.delete(&harness.permit, &run.id).await.unwrap_err();
    assert_eq!(early.kind, FaultKind::Conflict);
    runs.finish(&token, report(RunOutcome::Completed, None)).await.unwrap();
    assert_eq!(harness.get(&run.id).await.status, RunStatus::Cancelled);
    assert_eq!(harness.result_of(&format!("p/{}", run.id), "out/o/a.txt").await, None);
    runs.delete(&harness.permit, &run.id).await.unwrap();
    assert_eq!(runs.get(&harness.permit, &run.id).await.unwrap_err().kind, FaultKind::NotFound);
    runs.record(&harness.permit, &run.id).await.expect("the record stays");
}

#[tokio::test]
async fn logs_end_with_a_marker_at_their_limit() {
    let harness = Harness::new().await;
    let (run, token) = harness.started().await;
    let line = Bytes::from(format!("{}\n", "x".repeat(399)));
    for _ in 0..5 {
        harness.runs.log(&token, LogName::Run, line.clone()).await.unwrap();
    }
    let lines = lines(&harness, &run_log::run_stream(&run.id)).await;
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[2], super::sink::LOG_FULL);
}

#[tokio::test]
async fn bad_requests_are_refused_before_anything_starts() {
    let harness = Harness::new().await;
    let good = r#"{"reads": "s3://inputs/a/r.fq", "label": "x"}"#;
    let absent =
        "omics://123456789012.storage.us-east-1.amazonaws.com/1234567890/readSet/1234567890";
    let mut requests = BTreeMap::new();
    for (named, parameters) in [
        ("label", r#"{"reads": "s3://inputs/a/r.fq"}"#.to_owned()),
        ("colour", good.replace("label", "label\": \"y\", \"colour")),
        ("INPUT_URI_NOT_FOUND: s3://inputs/b", good.replace("a/r.fq", "b")),
        ("INPUT_URI_NOT_FOUND: s3://nowhere/b", good.replace("inputs/a/r.fq", "nowhere/b")),
        ("INVALID_URI_INPUT: omics://x", good.replace("s3://inputs/a/r.fq", "omics://x")),
        ("there is no such read set", good.replace("s3://inputs/a/r.fq", absent)),
        ("a path can't be an input", good.replace("s3://inputs/a/r.fq", "/etc/passwd")),
    ] {
        requests.insert(named, harness.request(&parameters));
    }
    let mut no_bucket = harness.request(good);
    no_bucket.output_uri = "s3://nowhere/p".into();
    requests.insert("outputUri: there is no such bucket", no_bucket);
    for (named, request) in requests {
        let fault = harness.runs.start(&harness.permit, request).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::InvalidArgument, "{named}: {fault}");
        assert!(fault.message.contains(named), "{named}: {fault}");
    }
    let mut role = harness.request(good);
    role.role_arn = "arn:aws:iam::123456789012:role/other".into();
    let refused = harness.runs.start(&harness.permit, role).await.unwrap_err();
    assert_eq!(refused.kind, FaultKind::AccessDenied);
    let live = harness.runs.live_runs().await.unwrap();
    assert!(live.is_empty() && harness.agent.tickets.lock().is_empty());
}

#[tokio::test]
async fn a_token_of_a_request_gives_the_same_run() {
    let harness = Harness::new().await;
    let request = harness.request(r#"{"reads": "s3://inputs/a/r.fq", "label": "x"}"#);
    let first = harness.runs.start(&harness.permit, request.clone()).await.unwrap();
    let again = harness.runs.start(&harness.permit, request.clone()).await.unwrap();
    assert_eq!(first.uuid, again.uuid);
    let mut other = request;
    other.name = Some("other".into());
    let fault = harness.runs.start(&harness.permit, other).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Conflict);
    let mut copy = harness.request("{}");
    (copy.workflow_id, copy.parameters, copy.source_run) = (None, None, Some(first.id.clone()));
    let copied = harness.runs.start(&harness.permit, copy).await.unwrap();
    assert_eq!(copied.workflow, first.workflow);
    assert_eq!(copied.source_run, Some(first.id));
}

#[tokio::test]
async fn a_node_that_refuses_fails_the_run_with_its_reason() {
    let harness = Harness::new().await;
    *harness.agent.refuses.lock() = Some("no room".into());
    let request = harness.request(r#"{"reads": "s3://inputs/a/r.fq", "label": "x"}"#);
    let run = harness.runs.start(&harness.permit, request).await.unwrap();
    let run = harness.wait_for(&run.id, RunStatus::Failed).await;
    assert_eq!(run.failure_reason.as_deref(), Some("SERVICE_ERROR"));
    assert!(run.status_message.unwrap().contains("no room"));
}

#[tokio::test]
async fn a_restart_keeps_live_runs_and_ends_lost_ones() {
    let mut harness = Harness::new().await;
    let (alive, alive_token) = harness.started().await;
    let (lost, lost_token) = harness.started().await;
    let (waiting, old_token) = harness.started().await;
    for token in [&alive_token, &lost_token] {
        harness.runs.state(token, RunState::Running).await.unwrap();
    }
    stage(&harness.runs, &alive_token, "out/o/a.txt", b"staged before").await;
    harness.restart().await;
    let stranger = Uuid::from_u128(1);
    *harness.agent.runs.lock() = vec![alive.uuid, stranger];
    harness.agent.tickets.lock().clear();
    let mut seen = Seen::default();
    for _ in 0..2 {
        assert_eq!(harness.get(&lost.id).await.status, RunStatus::Running);
        harness.runs.reconcile(&mut seen).await.unwrap();
    }
    let lost = harness.wait_for(&lost.id, RunStatus::Failed).await;
    assert_eq!(lost.failure_reason.as_deref(), Some("SERVICE_ERROR"));
    assert!(matches!(harness.runs.open(&lost_token).await, Err(SourceError::Revoked(_))));
    // The one that never began is handed over again, under a new token and fence.
    let ticket = harness.ticket_of(waiting.uuid).await;
    assert_eq!(ticket.attempt, 2);
    assert!(matches!(harness.runs.open(&old_token).await, Err(SourceError::Revoked(_))));
    harness.runs.open(&ticket.token).await.unwrap();
    // A run of nobody here is not touched.
    assert!(!harness.agent.cancelled.lock().contains(&stranger));
    // The live one goes on; what it had staged must be staged again.
    let outputs = json!({"w.o": {"$output": "out/o/a.txt"}});
    let early = report(RunOutcome::Completed, Some(outputs.clone()));
    let early = harness.runs.finish(&alive_token, early).await;
    assert!(matches!(early, Err(SourceError::Invalid(_))));
    stage(&harness.runs, &alive_token, "out/o/a.txt", b"again").await;
    let done = report(RunOutcome::Completed, Some(outputs));
    harness.runs.finish(&alive_token, done).await.unwrap();
    let bytes = harness.result_of(&format!("p/{}", alive.id), "out/o/a.txt").await;
    assert_eq!(bytes.unwrap(), b"again");
}

#[tokio::test]
async fn an_unsafe_zip_is_refused_and_an_unusable_one_fails() {
    let harness = Harness::new().await;
    let create = |zip: Bytes, token: &str| {
        let request = CreateWorkflow {
            definition_zip: Some(zip),
            request_id: token.into(),
            ..CreateWorkflow::default()
        };
        harness.runs.workflows().create(&harness.permit, request)
    };
    let text = "version 1.0\nworkflow w { }";
    let fault = create(Bytes::from_static(b"no zip"), "1").await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::InvalidArgument);
    let failed = create(zip_of("readme.txt", text), "2").await.unwrap();
    assert_eq!(failed.status, WorkflowStatus::Failed);
    let made = create(zip_of("x.wdl", text), "3").await.unwrap();
    assert_eq!(made.status, WorkflowStatus::Active);
    assert_eq!(create(zip_of("x.wdl", text), "3").await.unwrap().id, made.id);
    let fault = create(zip_of("y.wdl", text), "3").await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Conflict);
    let zip = harness.runs.workflows().definition(&harness.permit, &made.id).await.unwrap();
    assert_eq!(zip, zip_of("x.wdl", text));
    let other = create(zip_of("x.cwl", "cwlVersion: v1.2"), "4").await.unwrap();
    let mut request = harness.request("{}");
    request.workflow_id = Some(other.id);
    let fault = harness.runs.start(&harness.permit, request).await.unwrap_err();
    assert!(fault.message.contains("no engine for CWL"), "{fault}");
}
