//! `readvault run outputs`: what a run left, listed or downloaded.

use std::path::{Component, Path};

use reqwest::Method;
use serde_json::Value;

use super::{Output, encoded, text};
use crate::{
    fault::{Exit, Fault, Result},
    session::{Call, Service, Session},
};

/// Lists the objects below a run's output URI, or downloads them into a directory.
///
/// # Errors
/// `NotFound` when there is no such run or it left nothing; `Usage` when a file can't be written.
pub async fn outputs(
    session: &Session,
    run: &str,
    into: Option<&Path>,
    output: Output,
) -> Result<()> {
    let run = session.omics(Method::GET, &format!("/run/{}", encoded(run)), None).await?;
    let uri = text(&run, "runOutputUri");
    let Some((bucket, prefix)) = uri.strip_prefix("s3://").and_then(|rest| rest.split_once('/'))
    else {
        return Err(Fault::new(Exit::NotFound, "the run has no outputs yet"));
    };
    let prefix = format!("{}/", prefix.trim_end_matches('/'));
    let keys = keys(session, bucket, &prefix).await?;
    if keys.is_empty() {
        return Err(Fault::new(Exit::NotFound, format!("nothing stands below {uri}"))
            .hint(format!("readvault run status {}", text(&run, "id"))));
    }
    for key in keys {
        let uri = format!("s3://{bucket}/{key}");
        if let Some(into) = into {
            let relative = key.strip_prefix(&prefix).unwrap_or(&key);
            download(session, bucket, &key, &safe(into, relative)?).await?;
        }
        output.item(&Value::from(uri.as_str()), |_| uri.clone());
    }
    Ok(())
}

/// `relative` below `into`, refused when it would lead outside.
fn safe(into: &Path, relative: &str) -> Result<std::path::PathBuf> {
    let relative = Path::new(relative);
    if relative.components().all(|part| matches!(part, Component::Normal(_))) {
        Ok(into.join(relative))
    } else {
        Err(Fault::usage(format!("the output {} has no safe name", relative.display())))
    }
}

async fn keys(session: &Session, bucket: &str, prefix: &str) -> Result<Vec<String>> {
    let mut keys = Vec::new();
    let mut token = String::new();
    loop {
        let next = if token.is_empty() {
            String::new()
        } else {
            format!("continuation-token={}&", encoded(&token))
        };
        let target = format!("/{bucket}/?{next}list-type=2&prefix={}", encoded(prefix));
        let answer = session.send(&Call::new(Service::S3, Method::GET, target)).await?;
        let body = answer.text().await.unwrap_or_default();
        keys.extend(elements(&body, "Key").map(unescaped));
        match elements(&body, "NextContinuationToken").next() {
            Some(next) => token = unescaped(next),
            None => return Ok(keys),
        }
    }
}

fn elements<'a>(xml: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let (start, end) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = xml;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(&start)?;
        let (text, after) = after.split_once(&end)?;
        rest = after;
        Some(text)
    })
}

fn unescaped(text: &str) -> String {
    let pairs = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    pairs.iter().fold(text.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

async fn download(session: &Session, bucket: &str, key: &str, target: &Path) -> Result<()> {
    use std::io::Write;
    let path: Vec<_> = key.split('/').map(encoded).collect();
    let call = Call::new(Service::S3, Method::GET, format!("/{bucket}/{}", path.join("/")));
    let mut answer = session.send(&call).await?;
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent).map_err(|cause| Fault::file(parent, &cause))?;
    }
    let partial = target.with_added_extension("part");
    let mut file = std::fs::File::create(&partial).map_err(|c| Fault::file(&partial, &c))?;
    loop {
        let piece = answer.chunk().await.map_err(|cause| {
            let _ = std::fs::remove_file(&partial);
            Fault::new(Exit::Temporary, format!("{key} ended early: {cause}"))
        })?;
        let Some(piece) = piece else { break };
        file.write_all(&piece).map_err(|cause| Fault::file(&partial, &cause))?;
    }
    let kept = file.sync_all().and_then(|()| std::fs::rename(&partial, target));
    kept.map_err(|cause| Fault::file(target, &cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_never_leaves_the_directory() {
        let into = Path::new("results");
        assert!(safe(into, "out/a/b.bam").is_ok());
        for bad in ["../x", "/etc/passwd", "out/../../x"] {
            assert!(safe(into, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_read_from_a_listing() {
        let xml =
            "<L><Contents><Key>a &amp; b</Key></Contents><Contents><Key>c</Key></Contents></L>";
        let keys: Vec<_> = elements(xml, "Key").map(unescaped).collect();
        assert_eq!(keys, ["a & b", "c"]);
    }
}
