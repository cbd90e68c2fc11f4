//! `readvault run`: start, list, watch, cancel.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Output, encoded, list_get, logs, table, text};
use crate::{
    cli::Start,
    fault::{Exit, Fault, Result},
    session::Session,
};

/// Starts a run; with `--follow`, prints its log until it ends.
///
/// # Errors
/// `Usage` for parameters that can't be read or that the server refuses, `RunFailed` when a followed run
/// fails, with its reason.
pub async fn start(session: &Session, start: &Start, output: Output) -> Result<()> {
    let workflow = workflow_id(session, &start.workflow).await?;
    let request =
        uuid::Builder::from_random_bytes(readvault_ambient::random(&readvault_ambient::System));
    let mut body = json!({
        "workflowId": workflow,
        "workflowType": "PRIVATE",
        "roleArn": start.role,
        "outputUri": start.output,
        "parameters": parameters(start)?,
        "requestId": request.into_uuid().to_string(),
    });
    if let Some(name) = &start.name {
        body["name"] = name.as_str().into();
    }
    let run = session.omics(Method::POST, "/run", Some(&body)).await?;
    let id = text(&run, "id").to_owned();
    output.item(&run, |_| id.clone());
    if !start.follow {
        return Ok(());
    }
    logs::print(session, &id, logs::Log::Run, true).await?;
    let run = session.omics(Method::GET, &format!("/run/{id}"), None).await?;
    match text(&run, "status") {
        "COMPLETED" => Ok(()),
        status => {
            let (reason, message) = (text(&run, "failureReason"), text(&run, "statusMessage"));
            Err(Fault::new(Exit::RunFailed, format!("run {id} {status}: {reason} {message}"))
                .hint(format!("readvault run status {id}; readvault run logs {id} --engine")))
        }
    }
}

fn parameters(start: &Start) -> Result<Value> {
    let mut parameters = match &start.inputs {
        Some(path) => {
            let bytes = std::fs::read(path).map_err(|cause| Fault::file(path, &cause))?;
            serde_json::from_slice(&bytes)
                .map_err(|cause| Fault::usage(format!("{}: {cause}", path.display())))?
        }
        None => json!({}),
    };
    if !parameters.is_object() {
        return Err(Fault::usage("the parameters are no JSON object"));
    }
    for (name, value) in &start.input {
        parameters[name] =
            serde_json::from_str(value).unwrap_or_else(|_| Value::from(value.as_str()));
    }
    Ok(parameters)
}

async fn workflow_id(session: &Session, name_or_id: &str) -> Result<String> {
    if name_or_id.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(name_or_id.to_owned());
    }
    let query = format!("&type=PRIVATE&name={}", encoded(name_or_id));
    let found = list_get(session, "/workflow", &query).await?;
    // The newest of that name: registering a workflow again is how people correct it.
    let newest = found.iter().max_by_key(|workflow| text(workflow, "creationTime").to_owned());
    newest.map(|workflow| text(workflow, "id").to_owned()).ok_or_else(|| {
        Fault::new(Exit::NotFound, format!("there is no workflow `{name_or_id}`"))
            .hint("readvault workflow ls")
    })
}

/// Lists runs.
///
/// # Errors
/// Those of the server.
pub async fn ls(session: &Session, output: Output) -> Result<()> {
    let runs = list_get(session, "/run", "").await?;
    if output.json {
        runs.iter().for_each(|run| println!("{run}"));
        return Ok(());
    }
    let mut rows = vec![["ID", "STATUS", "WORKFLOW", "STARTED", "NAME"].map(String::from).to_vec()];
    let members = ["id", "status", "workflowId", "startTime", "name"];
    rows.extend(runs.iter().map(|run| members.map(|m| text(run, m).to_owned()).to_vec()));
    println!("{}", table(&rows));
    Ok(())
}

/// Shows a run and its tasks.
///
/// # Errors
/// `NotFound`; those of the server.
pub async fn status(session: &Session, id: &str, output: Output) -> Result<()> {
    let run = session.omics(Method::GET, &format!("/run/{}", encoded(id)), None).await?;
    let tasks = list_get(session, &format!("/run/{}/task", encoded(id)), "").await?;
    if output.json {
        println!("{}", json!({"run": run, "tasks": tasks}));
        return Ok(());
    }
    println!("{}", serde_json::to_string_pretty(&run).unwrap_or_else(|_| run.to_string()));
    let mut rows = vec![["TASK", "STATUS", "CPUS", "GIB", "NAME"].map(String::from).to_vec()];
    let number =
        |task: &Value, member: &str| task.get(member).map(Value::to_string).unwrap_or_default();
    rows.extend(tasks.iter().map(|task| {
        vec![
            text(task, "taskId").to_owned(),
            text(task, "status").to_owned(),
            number(task, "cpus"),
            number(task, "memory"),
            text(task, "name").to_owned(),
        ]
    }));
    println!("{}", table(&rows));
    Ok(())
}

/// Cancels a run.
///
/// # Errors
/// `NotFound`; `Usage` when it ended already.
pub async fn cancel(session: &Session, id: &str) -> Result<()> {
    let target = format!("/run/{}/cancel", encoded(id));
    session.omics(Method::POST, &target, None).await.map(drop)
}
