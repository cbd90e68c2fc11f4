//! `readvault store`: sequence stores.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Output, list_post, table, text};
use crate::{fault::Result, session::Session};

/// Makes a sequence store and prints its id.
///
/// # Errors
/// Those of the server.
pub async fn create(
    session: &Session,
    name: &str,
    description: Option<&str>,
    output: Output,
) -> Result<()> {
    let token =
        uuid::Builder::from_random_bytes(readvault_ambient::random(&readvault_ambient::System))
            .into_uuid();
    let mut body = json!({"name": name, "clientToken": token.to_string()});
    if let Some(description) = description {
        body["description"] = description.into();
    }
    let store = session.omics(Method::POST, "/sequencestore", Some(&body)).await?;
    output.item(&store, |store| text(store, "id").to_owned());
    Ok(())
}

/// Lists sequence stores.
///
/// # Errors
/// Those of the server.
pub async fn ls(session: &Session, output: Output) -> Result<()> {
    let stores = list_post(session, "/sequencestores", "sequenceStores", &json!({})).await?;
    if output.json {
        stores.iter().for_each(|store| println!("{store}"));
        return Ok(());
    }
    let mut rows = vec![vec!["ID".into(), "NAME".into(), "S3 URI".into()]];
    rows.extend(stores.iter().map(row));
    println!("{}", table(&rows));
    Ok(())
}

fn row(store: &Value) -> Vec<String> {
    let uri = store.get("s3Access").map(|access| text(access, "s3Uri").to_owned());
    vec![text(store, "id").into(), text(store, "name").into(), uri.unwrap_or_default()]
}
