//! `readvault put`: direct multipart upload, parts in parallel, resumed where it stopped.
//!
//! What was begun is remembered in a small file per upload; the server's own list of parts says what need
//! not be sent again. A part counts as there only when its SHA-256 equals that of the local bytes.

use std::{
    collections::HashMap,
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::Engine;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Output, list_post, store_id, text};
use crate::{
    cli::Put,
    fault::{Exit, Fault, Result},
    session::{Call, Service, Session},
};

/// Bytes of a part, unless the file has more than 10,000 of them.
const PART_BYTES: u64 = 16 << 20;

/// Most parts of one source.
const PARTS_MAX: u64 = 10_000;

/// Most bytes of a part.
const PART_BYTES_MAX: u64 = 104_857_600;

/// Time between two looks at a read set that is being validated.
const LOOK: Duration = Duration::from_millis(250);

/// Uploads `put.files` as one read set and, unless told not to, waits until it is ACTIVE.
///
/// # Errors
/// `Usage` for files that can't be read; `Integrity` when the server refuses what it stored, with its
/// reason; `Temporary` when the connection fails for long: the same command goes on then.
pub async fn put(session: &Session, put: &Put, output: Output) -> Result<()> {
    let store = store_id(session, &put.store).await?;
    let sources = put.files.iter().map(|path| Source::open(path)).collect::<Result<Vec<_>>>()?;
    let memory = Memory::of(session, &store, &sources)?;
    let upload = match memory.resume(session, &store).await? {
        Some(upload) => {
            output.say(&format!("going on with upload {upload}"));
            upload
        }
        None => {
            let body = described(put, &sources)?;
            let target = format!("/sequencestore/{store}/upload");
            let made = session.omics(Method::POST, &target, Some(&body)).await?;
            let upload = text(&made, "uploadId").to_owned();
            memory.keep(&upload)?;
            upload
        }
    };
    let mut parts = Vec::new();
    for (source, name) in sources.iter().zip(["SOURCE1", "SOURCE2"]) {
        let sending = Sending { session, store: &store, upload: &upload, source, name };
        parts.extend(sending.send(put.jobs, output).await?);
    }
    let target = format!("/sequencestore/{store}/upload/{upload}/complete");
    let done = session.omics(Method::POST, &target, Some(&json!({ "parts": parts }))).await?;
    memory.forget();
    let id = text(&done, "readSetId").to_owned();
    let metadata = if put.no_wait { done } else { settled(session, &store, &id).await? };
    output.item(&metadata, |_| format!("{store}/{id}"));
    Ok(())
}

/// A local file to upload.
struct Source {
    path: PathBuf,
    file: File,
    length: u64,
    modified_ns: i128,
}

impl Source {
    fn open(path: &Path) -> Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let file = File::open(path).map_err(|cause| Fault::file(path, &cause))?;
        let meta = file.metadata().map_err(|cause| Fault::file(path, &cause))?;
        if !meta.is_file() {
            return Err(Fault::usage(format!("{} is no regular file", path.display())));
        }
        if meta.len() == 0 {
            return Err(Fault::usage(format!("{} is empty", path.display())));
        }
        let path = std::fs::canonicalize(path).map_err(|cause| Fault::file(path, &cause))?;
        let modified_ns = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
        Ok(Self { path, file, length: meta.len(), modified_ns })
    }

    fn base(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn part_bytes(&self) -> u64 {
        PART_BYTES.max(self.length.div_ceil(PARTS_MAX).next_multiple_of(1 << 20))
    }
}

/// The body that describes a new upload.
fn described(put: &Put, sources: &[Source]) -> Result<Value> {
    let base = sources.first().map(Source::base).unwrap_or_default();
    let file_type = match &put.file_type {
        Some(file_type) => file_type.clone(),
        None => type_of(&base)?.to_owned(),
    };
    let sample = put.sample.clone().unwrap_or_else(|| {
        base.split(['_', '.']).next().filter(|word| !word.is_empty()).unwrap_or(&base).to_owned()
    });
    let mut body = json!({
        "sourceFileType": file_type,
        "sampleId": sample,
        "subjectId": put.subject.as_ref().unwrap_or(&sample),
        "name": put.name.as_ref().unwrap_or(&sample),
    });
    if let Some(reference) = &put.reference {
        body["referenceArn"] = reference.as_str().into();
    }
    if let Some(origin) = &put.generated_from {
        body["generatedFrom"] = origin.as_str().into();
    }
    if !put.tags.is_empty() {
        body["tags"] = put.tags.iter().cloned().collect::<HashMap<_, _>>().into_iter().fold(
            json!({}),
            |mut tags, (key, value)| {
                tags[key] = value.into();
                tags
            },
        );
    }
    Ok(body)
}

/// Tells the type of a file from its name.
fn type_of(base: &str) -> Result<&'static str> {
    let base = base.to_ascii_lowercase();
    let base = base.strip_suffix(".gz").unwrap_or(&base);
    match base.rsplit('.').next() {
        Some("fastq" | "fq") => Ok("FASTQ"),
        Some("bam") if base.ends_with(".unmapped.bam") || base.ends_with(".ubam.bam") => Ok("UBAM"),
        Some("bam") => Ok("BAM"),
        Some("ubam") => Ok("UBAM"),
        Some("cram") => Ok("CRAM"),
        _ => Err(Fault::usage(format!("the type of {base} can't be told from its name"))
            .hint("--type FASTQ, BAM, CRAM or UBAM")),
    }
}

/// One source on its way.
struct Sending<'a> {
    session: &'a Session,
    store: &'a str,
    upload: &'a str,
    source: &'a Source,
    name: &'static str,
}

impl Sending<'_> {
    /// Sends all parts that the server does not have; the part list of this source.
    async fn send(&self, jobs: u8, output: Output) -> Result<Vec<Value>> {
        let there = self.there().await?;
        let bar = progress(self.source.length, &self.source.base(), output);
        let parts = self.source.length.div_ceil(self.source.part_bytes());
        let mut sent: Vec<(u64, String)> = stream::iter(1..=parts)
            .map(|part| self.part(part, there.get(&part), bar.clone()))
            .buffer_unordered(usize::from(jobs))
            .try_collect()
            .await?;
        bar.finish_and_clear();
        sent.sort_unstable();
        let listed = sent.into_iter().map(|(part, checksum)| {
            json!({"partNumber": part, "partSource": self.name, "checksum": checksum})
        });
        Ok(listed.collect())
    }

    /// Checksums of the parts that the server has, by number.
    async fn there(&self) -> Result<HashMap<u64, String>> {
        let path = format!("/sequencestore/{}/upload/{}/parts", self.store, self.upload);
        let body = json!({ "partSource": self.name });
        let parts = list_post(self.session, &path, "parts", &body).await?;
        let number = |part: &Value| part.get("partNumber").and_then(Value::as_u64);
        Ok(parts
            .iter()
            .filter_map(|part| Some((number(part)?, text(part, "checksum").to_owned())))
            .collect())
    }

    async fn part(
        &self,
        part: u64,
        there: Option<&String>,
        bar: ProgressBar,
    ) -> Result<(u64, String)> {
        let start = (part - 1) * self.source.part_bytes();
        let length = self.source.part_bytes().min(self.source.length - start);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.source
            .file
            .read_exact_at(&mut bytes, start)
            .map_err(|cause| Fault::file(&self.source.path, &cause))?;
        let checksum = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(&bytes));
        if there != Some(&checksum) {
            let answered = self.deliver(part, bytes.into()).await?;
            if answered != checksum {
                let what = format!("part {part} of {} arrived damaged", self.source.base());
                return Err(Fault::new(Exit::Integrity, what).hint("the same command again"));
            }
        }
        bar.inc(length);
        Ok((part, checksum))
    }

    async fn deliver(&self, part: u64, bytes: Bytes) -> Result<String> {
        let target = format!(
            "/sequencestore/{}/upload/{}/part?partSource={}&partNumber={part}",
            self.store, self.upload, self.name
        );
        let mut call = Call::new(Service::Omics, Method::PUT, target);
        call.body = bytes;
        call.sign_payload = false;
        call.headers = vec![("content-type", "application/octet-stream".into())];
        let answer = self.session.send(&call).await?;
        let body = answer.bytes().await.unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        Ok(text(&body, "checksum").to_owned())
    }
}

/// What remembers an unfinished upload: one file, named by what is uploaded where.
struct Memory(PathBuf);

impl Memory {
    fn of(session: &Session, store: &str, sources: &[Source]) -> Result<Self> {
        let config = session.config();
        let mut hasher = Sha256::new();
        hasher.update(format!("{}\n{store}\n", config.endpoint));
        for source in sources {
            let (path, length) = (source.path.display(), source.length);
            hasher.update(format!("{path}\n{length}\n{}\n", source.modified_ns));
            if source.part_bytes() > PART_BYTES_MAX {
                return Err(Fault::usage(format!("{path} is above 976 GB")));
            }
        }
        std::fs::create_dir_all(&config.state).map_err(|c| Fault::file(&config.state, &c))?;
        Ok(Self(config.state.join(hex::encode(hasher.finalize()))))
    }

    /// The upload that was begun, when the server still knows it.
    async fn resume(&self, session: &Session, store: &str) -> Result<Option<String>> {
        let Ok(upload) = std::fs::read_to_string(&self.0) else { return Ok(None) };
        let path = format!("/sequencestore/{store}/upload/{upload}/parts?maxResults=1");
        let body = json!({"partSource": "SOURCE1"});
        match session.omics(Method::POST, &path, Some(&body)).await {
            Ok(_) => Ok(Some(upload)),
            Err(fault) if matches!(fault.exit, Exit::NotFound | Exit::Usage) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    fn keep(&self, upload: &str) -> Result<()> {
        std::fs::write(&self.0, upload).map_err(|cause| Fault::file(&self.0, &cause))
    }

    fn forget(&self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Waits until a read set is validated; its metadata.
async fn settled(session: &Session, store: &str, id: &str) -> Result<Value> {
    let target = format!("/sequencestore/{store}/readset/{id}/metadata");
    loop {
        let metadata = session.omics(Method::GET, &target, None).await?;
        match text(&metadata, "status") {
            "PROCESSING_UPLOAD" => tokio::time::sleep(LOOK).await,
            "UPLOAD_FAILED" => {
                let why = text(&metadata, "statusMessage");
                return Err(Fault::new(
                    Exit::Integrity,
                    format!("read set {id} was refused: {why}"),
                )
                .hint("check the file at its origin, then upload it again"));
            }
            _ => return Ok(metadata),
        }
    }
}

/// A bar on standard error when that is a terminal.
pub(super) fn progress(length: u64, name: &str, output: Output) -> ProgressBar {
    let target =
        if output.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    let template = "{msg}  {bytes}/{total_bytes}  {percent} %  {bytes_per_sec}  ETA {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(name.to_owned());
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_follows_from_the_name() {
        assert_eq!(type_of("A_R1.fastq.gz").expect("told"), "FASTQ");
        assert_eq!(type_of("A.FQ").expect("told"), "FASTQ");
        assert_eq!(type_of("A.bam").expect("told"), "BAM");
        assert_eq!(type_of("A.unmapped.bam").expect("told"), "UBAM");
        assert_eq!(type_of("A.cram").expect("told"), "CRAM");
        assert!(type_of("A.vcf.gz").is_err());
    }

    #[test]
    fn parts_never_number_more_than_ten_thousand() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("big.bam");
        let file = File::create(&path).expect("made");
        for length in [1, PART_BYTES, PART_BYTES * PARTS_MAX, PART_BYTES * PARTS_MAX + 1, 976 << 30]
        {
            file.set_len(length).expect("sparse");
            let source = Source::open(&path).expect("opened");
            assert!(source.length.div_ceil(source.part_bytes()) <= PARTS_MAX, "{length}");
        }
    }
}
