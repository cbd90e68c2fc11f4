//! `readvault get`: parts in parallel into a file beside the target, digest checked, then renamed.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::Engine;
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use reqwest::Method;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Output, encoded, find, put::progress, text};
use crate::{
    cli::Get,
    fault::{Exit, Fault, Result},
    session::{Call, Service, Session},
    uri::{FileName, ReadSetName},
};

/// Parts fetched at once.
const PARTS_AT_ONCE: usize = 4;

/// Downloads the files of a read set.
///
/// # Errors
/// `NotFound`; `Integrity` when bytes do not match the digest that the server keeps, after which the
/// target does not exist; `Usage` when a target exists.
pub async fn get(session: &Session, get: &Get, output: Output) -> Result<()> {
    let name = ReadSetName::parse(&get.read_set)?;
    let (store, metadata) = find(session, &name).await?;
    let files = metadata.get("files").cloned().unwrap_or_default();
    let wanted = match name.file {
        Some(file) => vec![file],
        None => vec![FileName::Source1, FileName::Source2, FileName::Index],
    };
    std::fs::create_dir_all(&get.output).map_err(|cause| Fault::file(&get.output, &cause))?;
    let mut found = false;
    for file in wanted {
        let Some(facts) = files.get(file.as_member()) else { continue };
        found = true;
        let source = Source { session, store: &store, id: &name.id, file, facts };
        let path = source.download(&get.output, get.force, output).await?;
        output.item(&Value::from(path.display().to_string()), |_| path.display().to_string());
    }
    if found {
        Ok(())
    } else {
        Err(Fault::new(Exit::NotFound, format!("read set {} has no such file yet", name.id)))
    }
}

struct Source<'a> {
    session: &'a Session,
    store: &'a str,
    id: &'a str,
    file: FileName,
    facts: &'a Value,
}

impl Source<'_> {
    async fn download(&self, into: &Path, force: bool, output: Output) -> Result<PathBuf> {
        let number = |member: &str| self.facts.get(member).and_then(Value::as_u64).unwrap_or(0);
        let (length, part_bytes) = (number("contentLength"), number("partSize"));
        let uri = self.facts.pointer("/s3Access/s3Uri").and_then(Value::as_str);
        let base = uri.and_then(|uri| uri.rsplit('/').next()).unwrap_or(self.id);
        let target = into.join(base);
        if target.exists() && !force {
            return Err(Fault::usage(format!("{} exists", target.display())).hint("--force"));
        }
        let partial = into.join(format!(".{base}.part"));
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true);
        let file = options.open(&partial).map_err(|cause| Fault::file(&partial, &cause))?;
        let file = Arc::new(file);
        let bar = progress(length, base, output);
        let fetched = stream::iter(1..=number("totalParts"))
            .map(|part| self.part(part, part_bytes, file.clone(), bar.clone()))
            .buffer_unordered(PARTS_AT_ONCE)
            .try_collect::<()>()
            .await;
        bar.finish_and_clear();
        let checked = match fetched {
            Ok(()) => self.check(&file, length, uri).await,
            Err(fault) => Err(fault),
        };
        if let Err(fault) = checked {
            let _ = std::fs::remove_file(&partial);
            return Err(fault);
        }
        let kept = file.sync_all().and_then(|()| std::fs::rename(&partial, &target));
        kept.map_err(|cause| Fault::file(&target, &cause))?;
        Ok(target)
    }

    async fn part(&self, part: u64, bytes: u64, file: Arc<File>, bar: ProgressBar) -> Result<()> {
        let target = format!(
            "/sequencestore/{}/readset/{}?file={}&partNumber={part}",
            self.store,
            self.id,
            self.file.as_query()
        );
        let call = Call::new(Service::Omics, Method::GET, target);
        let mut answer = self.session.send(&call).await?;
        let mut offset = (part - 1) * bytes;
        loop {
            let piece = answer.chunk().await.map_err(|cause| {
                Fault::new(Exit::Temporary, format!("part {part} ended early: {cause}"))
                    .hint("the same command again")
            })?;
            let Some(piece) = piece else { return Ok(()) };
            file.write_all_at(&piece, offset)
                .map_err(|cause| Fault::file(Path::new("the download"), &cause))?;
            offset += piece.len() as u64;
            bar.inc(piece.len() as u64);
        }
    }

    /// Compares length and SHA-256 with what the server keeps of the upload.
    async fn check(&self, file: &File, length: u64, uri: Option<&str>) -> Result<()> {
        let have = file.metadata().map_or(0, |meta| meta.len());
        if have != length {
            let what = format!("{have} bytes came where {length} are stored");
            return Err(Fault::new(Exit::Integrity, what).hint("the same command again"));
        }
        let Some(path) = uri.and_then(|uri| uri.strip_prefix("s3://")) else { return Ok(()) };
        let path: Vec<_> = path.split('/').map(encoded).collect();
        let mut call = Call::new(Service::S3, Method::HEAD, format!("/{}", path.join("/")));
        call.headers = vec![("x-amz-checksum-mode", "ENABLED".into())];
        let answer = self.session.send(&call).await?;
        let stated = answer.headers().get("x-amz-checksum-sha256");
        let Some(stated) = stated.and_then(|value| value.to_str().ok()) else { return Ok(()) };
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut offset = 0;
        while offset < length {
            let read = file
                .read_at(&mut buffer, offset)
                .map_err(|cause| Fault::file(Path::new("the download"), &cause))?;
            hasher.update(&buffer[..read]);
            offset += read as u64;
        }
        let digest = base64::engine::general_purpose::STANDARD.encode(hasher.finalize());
        if digest == stated {
            return Ok(());
        }
        let what = format!("{} does not match its SHA-256", text(self.facts, "name"));
        Err(Fault::new(Exit::Integrity, what).hint("the same command again"))
    }
}
