//! `readvault run logs`: the streams of a run, followed when asked.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{encoded, list_get, text};
use crate::{
    fault::{Exit, Fault, Result},
    session::Session,
};

/// The group that holds the streams of all runs.
const GROUP: &str = "/aws/omics/WorkflowLog";

/// Time between two looks at a stream that is followed.
const LOOK: Duration = Duration::from_millis(500);

/// A log of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Log {
    /// The run's own events.
    Run,
    /// The engine's output.
    Engine,
    /// The output of the task with this name or id.
    Task(String),
}

impl Log {
    /// The log that two flags choose.
    #[must_use]
    pub fn choose(task: Option<String>, engine: bool) -> Self {
        match task {
            Some(task) => Self::Task(task),
            None if engine => Self::Engine,
            None => Self::Run,
        }
    }
}

/// Prints a log, to its end or, when followed, until the run ends.
///
/// # Errors
/// `NotFound` when there is no such run or task; those of the server.
pub async fn print(session: &Session, run: &str, log: Log, follow: bool) -> Result<()> {
    let stream = match log {
        Log::Run => format!("run/{run}"),
        Log::Engine => format!("run/{run}/engine"),
        Log::Task(task) => format!("run/{run}/task/{}", task_id(session, run, &task).await?),
    };
    let mut token: Option<String> = None;
    loop {
        let ended = !follow || ended(session, run).await?;
        while let Some(next) = page(session, &stream, token.as_deref()).await? {
            token = Some(next);
        }
        if ended {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Prints one page; the token of the next, or none at the present end of the stream.
async fn page(session: &Session, stream: &str, token: Option<&str>) -> Result<Option<String>> {
    let mut body = json!({
        "logGroupName": GROUP,
        "logStreamName": stream,
        "startFromHead": true,
    });
    if let Some(token) = token {
        body["nextToken"] = token.into();
    }
    let page = match session.logs("GetLogEvents", &body).await {
        // A run that has not said anything yet has no stream yet.
        Err(fault) if fault.exit == Exit::NotFound || fault.what.contains("NotFound") => {
            return Ok(None);
        }
        page => page?,
    };
    for event in page.get("events").and_then(Value::as_array).into_iter().flatten() {
        println!("{}", text(event, "message").trim_end_matches('\n'));
    }
    let next = text(&page, "nextForwardToken");
    Ok((!next.is_empty() && Some(next) != token).then(|| next.to_owned()))
}

async fn ended(session: &Session, run: &str) -> Result<bool> {
    let run = session.omics(Method::GET, &format!("/run/{}", encoded(run)), None).await?;
    Ok(matches!(text(&run, "status"), "COMPLETED" | "FAILED" | "CANCELLED" | "DELETED"))
}

async fn task_id(session: &Session, run: &str, name_or_id: &str) -> Result<String> {
    let tasks = list_get(session, &format!("/run/{}/task", encoded(run)), "").await?;
    let named = |task: &&Value| {
        text(task, "taskId") == name_or_id
            || text(task, "name") == name_or_id
            || text(task, "name").contains(name_or_id)
    };
    tasks.iter().find(named).map(|task| text(task, "taskId").to_owned()).ok_or_else(|| {
        Fault::new(Exit::NotFound, format!("run {run} has no task `{name_or_id}`"))
            .hint(format!("readvault run status {run}"))
    })
}
