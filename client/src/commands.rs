//! One file a command. Each takes a session and what the command line said.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    fault::{Exit, Fault, Result},
    session::Session,
    uri::ReadSetName,
};

pub mod env;
pub mod get;
pub mod logs;
pub mod ls;
pub mod outputs;
pub mod put;
pub mod run;
pub mod store;
pub mod workflow;

/// How a command speaks.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// JSON on standard output.
    pub json: bool,
    /// No progress and no messages.
    pub quiet: bool,
}

impl Output {
    /// Prints one object: as JSON, else as the line that `text` makes.
    pub fn item(self, value: &Value, text: impl FnOnce(&Value) -> String) {
        if self.json {
            println!("{value}");
        } else {
            println!("{}", text(value));
        }
    }

    /// Says something to people.
    pub fn say(self, message: &str) {
        if !self.quiet {
            eprintln!("{message}");
        }
    }
}

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// `text` as one segment of a path or one value of a query.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// The text of a member; empty when it is not there.
pub(crate) fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value.get(member).and_then(Value::as_str).unwrap_or_default()
}

/// The whole of a list of the storage family: POST, filter in the body, token in the query.
pub(crate) async fn list_post(
    session: &Session,
    path: &str,
    member: &str,
    body: &Value,
) -> Result<Vec<Value>> {
    let mut items = Vec::new();
    let mut token = String::new();
    loop {
        let next = if token.is_empty() { String::new() } else { format!("&nextToken={token}") };
        let target = format!("{path}?maxResults=100{next}");
        let page = session.omics(Method::POST, &target, Some(body)).await?;
        items.extend(page.get(member).and_then(Value::as_array).cloned().unwrap_or_default());
        token = encoded(text(&page, "nextToken"));
        if token.is_empty() {
            return Ok(items);
        }
    }
}

/// The whole of a list of the workflow family: GET, everything in the query.
pub(crate) async fn list_get(session: &Session, path: &str, query: &str) -> Result<Vec<Value>> {
    let mut items = Vec::new();
    let mut token = String::new();
    loop {
        let next = if token.is_empty() { String::new() } else { format!("&startingToken={token}") };
        let target = format!("{path}?maxResults=100{query}{next}");
        let page = session.omics(Method::GET, &target, None).await?;
        items.extend(page.get("items").and_then(Value::as_array).cloned().unwrap_or_default());
        token = encoded(text(&page, "nextToken"));
        if token.is_empty() {
            return Ok(items);
        }
    }
}

/// The id of the sequence store `name_or_id`.
pub(crate) async fn store_id(session: &Session, name_or_id: &str) -> Result<String> {
    if name_or_id.len() >= 10 && name_or_id.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(name_or_id.to_owned());
    }
    let stores = list_post(session, "/sequencestores", "sequenceStores", &json!({})).await?;
    let named: Vec<_> = stores.iter().filter(|store| text(store, "name") == name_or_id).collect();
    match named[..] {
        [store] => Ok(text(store, "id").to_owned()),
        [] => Err(Fault::new(Exit::NotFound, format!("there is no store `{name_or_id}`"))
            .hint("readvault store ls")),
        _ => Err(Fault::usage(format!("several stores are called `{name_or_id}`"))
            .hint("name it by its id: readvault store ls")),
    }
}

/// Store and metadata of a read set, looked for in every store when none was said.
pub(crate) async fn find(session: &Session, name: &ReadSetName) -> Result<(String, Value)> {
    let stores = match name.store.as_ref().or(session.config().store.as_ref()) {
        Some(store) => vec![store_id(session, store).await?],
        None => list_post(session, "/sequencestores", "sequenceStores", &json!({}))
            .await?
            .iter()
            .map(|store| text(store, "id").to_owned())
            .collect(),
    };
    for store in stores {
        let target = format!("/sequencestore/{store}/readset/{}/metadata", name.id);
        match session.omics(Method::GET, &target, None).await {
            Ok(metadata) => return Ok((store, metadata)),
            Err(fault) if fault.exit == Exit::NotFound => {}
            Err(fault) => return Err(fault),
        }
    }
    Err(Fault::new(Exit::NotFound, format!("there is no read set {}", name.id))
        .hint("readvault ls"))
}

/// Lines of columns, as wide as their widest text.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns)
        .map(|column| {
            rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max()
        })
        .map(Option::unwrap_or_default)
        .collect();
    let line = |row: &Vec<String>| {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
