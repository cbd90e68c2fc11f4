//! `readvault ls` and `readvault show`.

use serde_json::{Value, json};

use super::{Output, find, list_post, store_id, table, text};
use crate::{cli::Ls, fault::Result, session::Session, uri::ReadSetName};

/// Lists read sets.
///
/// # Errors
/// `NotFound` when the store does not exist; those of the server.
pub async fn ls(session: &Session, ls: &Ls, output: Output) -> Result<()> {
    let stores = match &ls.store {
        Some(store) => vec![store_id(session, store).await?],
        None => list_post(session, "/sequencestores", "sequenceStores", &json!({}))
            .await?
            .iter()
            .map(|store| text(store, "id").to_owned())
            .collect(),
    };
    let mut filter = json!({});
    let wanted = [
        ("sampleId", &ls.sample),
        ("subjectId", &ls.subject),
        ("name", &ls.name),
        ("status", &ls.status),
    ];
    for (member, value) in wanted {
        if let Some(value) = value {
            filter[member] = value.as_str().into();
        }
    }
    let body = json!({ "filter": filter });
    let mut rows = vec![
        ["READ SET", "STATUS", "TYPE", "SAMPLE", "SUBJECT", "READS", "NAME"]
            .map(String::from)
            .to_vec(),
    ];
    for store in stores {
        let path = format!("/sequencestore/{store}/readsets");
        for read_set in list_post(session, &path, "readSets", &body).await? {
            if output.json {
                println!("{read_set}");
            } else if ls.format == "ids" {
                println!("{store}/{}", text(&read_set, "id"));
            } else {
                rows.push(row(&store, &read_set));
            }
        }
    }
    if !output.json && ls.format == "table" {
        println!("{}", table(&rows));
    }
    Ok(())
}

fn row(store: &str, read_set: &Value) -> Vec<String> {
    let reads = read_set
        .pointer("/sequenceInformation/totalReadCount")
        .map(Value::to_string)
        .unwrap_or_default();
    vec![
        format!("{store}/{}", text(read_set, "id")),
        text(read_set, "status").into(),
        text(read_set, "fileType").into(),
        text(read_set, "sampleId").into(),
        text(read_set, "subjectId").into(),
        reads,
        text(read_set, "name").into(),
    ]
}

/// Shows one read set, as JSON for people.
///
/// # Errors
/// `NotFound`; those of the server.
pub async fn show(session: &Session, read_set: &str) -> Result<()> {
    let (_, metadata) = find(session, &ReadSetName::parse(read_set)?).await?;
    let pretty = serde_json::to_string_pretty(&metadata).unwrap_or_else(|_| metadata.to_string());
    println!("{pretty}");
    Ok(())
}
