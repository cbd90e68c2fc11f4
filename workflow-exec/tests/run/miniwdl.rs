//! The real miniwdl from the project's own engine image, on real WDL.
//!
//! Needs `READVAULT_TEST_IMAGES`, a directory that holds what `scripts/image tools` and
//! `scripts/image engine-wdl` write.

use std::path::PathBuf;

use readvault_exec_protocol::{
    agent::{AgentReply, AgentRequest, Language},
    run::{RunOutcome, TaskState},
};

use crate::node::{Node, node};

const WDL: &str = r#"version 1.1
task count {
  input { File file Int index }
  command <<<
    set -e
    echo "task ~{index} reads" >&2
    wc -c < ~{file} > n.txt
  >>>
  output { File n = "n.txt" Int bytes = read_int("n.txt") }
  runtime { docker: "tools:2" cpu: 1 memory: "128 MB" }
}
workflow w {
  input { File file String greeting }
  scatter (i in [0, 1]) { call count { input: file = file, index = i } }
  output { Array[File] counts = count.n Int bytes = count.bytes[0] String said = greeting }
}
"#;

async fn with_miniwdl() -> Option<Node> {
    let Some(dir) = std::env::var_os("READVAULT_TEST_IMAGES").map(PathBuf::from) else {
        println!("skipped: READVAULT_TEST_IMAGES names no directory of images");
        return None;
    };
    let node = node().await?;
    let layout = dir.join("engine-wdl");
    let add = AgentRequest::AddEngine { language: Language::Wdl, layout };
    assert!(matches!(node.ask(add).await, AgentReply::Imported(_)));
    let import = AgentRequest::ImportImage { layout: dir.join("tools"), name: "tools:2".into() };
    assert!(matches!(node.ask(import).await, AgentReply::Imported(_)));
    Some(node)
}

#[tokio::test]
async fn miniwdl_runs_a_scatter_and_its_outputs_come_out() {
    let Some(node) = with_miniwdl().await else { return };
    let parameters = serde_json::json!({ "w.file": { "$input": 0 }, "w.greeting": "/etc/passwd" });
    // Larger than a quarter of the memory, so it is served by the mount.
    for length in [5_000_usize, 200_000_000] {
        let data: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
        let inputs = vec![("data.bin", data)];
        let mut run = node.start_named(WDL, inputs, parameters.clone()).await;
        let heard = run.end().await;
        let report = heard.report.clone().expect("a report");
        assert_eq!(report.outcome, RunOutcome::Completed, "{heard:#?}");
        let expected = format!("{length}\n");
        for index in 0..2 {
            assert_eq!(heard.outputs[&format!("out/counts/{index}/n.txt")], expected.as_bytes());
        }
        let outputs = report.outputs.expect("outputs");
        assert_eq!(outputs["w.bytes"], length);
        assert_eq!(outputs["w.said"], "/etc/passwd");
        assert_eq!(outputs["w.counts"][1]["$output"], "out/counts/1/n.txt");
        let tasks = heard.ended();
        assert_eq!(tasks.len(), 2);
        for task in tasks {
            assert_eq!(task.state, TaskState::Completed);
            assert!(task.name.starts_with("count"), "{}", task.name);
            let log = heard.log(&task.task.to_string());
            assert!(log.contains("reads"), "{log}");
            assert!(heard.accesses.contains(&(task.task, 0)));
        }
        assert!(heard.log("engine").contains("workflow"), "{}", heard.log("engine"));
        node.nothing_left(run.spec.run).await;
    }
}

#[tokio::test]
async fn miniwdl_names_the_task_that_failed() {
    let Some(node) = with_miniwdl().await else { return };
    let parameters = serde_json::json!({ "w.file": { "$input": 0 }, "w.greeting": "x" });
    for (from, to, reason, words) in [
        ("set -e", "echo it is broken >&2; exit 9", "RUN_TASK_FAILED", "it is broken"),
        ("cpu: 1", "privileged: true cpu: 1", "WORKFLOW_RUN_FAILED", "privileged"),
        ("tools:2", "absent:1", "IMAGE_VERIFICATION_FAILURE", "absent:1"),
    ] {
        let script = WDL.replace(from, to);
        let inputs = vec![("data.bin", vec![1; 10])];
        let mut run = node.start_named(&script, inputs, parameters.clone()).await;
        let heard = run.end().await;
        let (got, message) = crate::failure(&heard);
        assert_eq!(got, reason, "{message}");
        assert!(message.contains(words), "{message}");
        node.nothing_left(run.spec.run).await;
    }
}
