//! Inspection: stored bytes go to the keyless inspector, its verdict becomes facts of a row.
//!
//! No genomic byte is parsed here. What the inspector says is a verdict on bytes, never an
//! instruction.

pub mod read_set;

use std::fmt;

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::StreamExt;
use readvault_inspect_protocol::{
    Alignment, ByteStream, EtagFamily, FileType, InspectError, InspectRequest, Inspection,
    Inspector, Limits, SequenceFact, SourceInfo, Summary, Verdict,
};
use readvault_store::{
    catalog::Commit,
    vault::{FileRef, FileRole, FileSpec, Item, Metadata, Staged},
};

pub use self::read_set::InspectReadSets;
use crate::{
    Fault, FaultKind,
    core::Core,
    fault::Result,
    jobs::Jobs,
    read_set::{ReadSet, ReadSetFacts, ReadSetFile},
    reference,
};

/// Bytes of a summary that a row keeps; above it the list of sequences is left out.
const SUMMARY_BYTES_MAX: usize = 256 << 10;
/// Characters of a status message.
const MESSAGE_CHARS_MAX: usize = 1000;

/// Judges bytes. The real one starts a sandboxed process a call.
#[async_trait]
pub trait Inspect: Send + Sync + fmt::Debug {
    /// Judges `sources`, each read in order.
    ///
    /// # Errors
    /// Only when the bytes could not be judged at all: try again later.
    async fn inspect(
        &self,
        request: &InspectRequest,
        sources: Vec<ByteStream>,
    ) -> Result<Inspection, InspectError>;
}

#[async_trait]
impl Inspect for Inspector {
    async fn inspect(
        &self,
        request: &InspectRequest,
        sources: Vec<ByteStream>,
    ) -> Result<Inspection, InspectError> {
        Self::inspect(self, request, sources).await
    }
}

/// What is to be judged.
#[derive(Clone, Debug)]
pub(crate) struct Judge<'a> {
    /// `FASTQ`, `BAM`, `CRAM`, `UBAM` or `REFERENCE`.
    pub(crate) file_type: &'a str,
    /// `MD5up`, `SHA256up` or `SHA512up`.
    pub(crate) etag_family: &'a str,
    /// ARN of the reference that was given.
    pub(crate) reference_arn: Option<&'a str>,
    /// Name and stored bytes of each source.
    pub(crate) sources: Vec<(&'a str, &'a FileRef)>,
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Judgement {
    /// Sound: what it holds, and its index.
    Sound(Box<Summary>, Option<Bytes>),
    /// Not taken, for this reason.
    Refused(String),
}

impl Judge<'_> {
    /// Streams the stored bytes to `inspector`.
    ///
    /// # Errors
    /// When the bytes could not be judged: stored bytes that can't be read, no inspector.
    pub(crate) async fn run(&self, core: &Core, inspector: &dyn Inspect) -> Result<Judgement> {
        let request = InspectRequest {
            file_type: FileType::parse(self.file_type),
            sources: self
                .sources
                .iter()
                .map(|(name, file)| SourceInfo { name: (*name).into(), length: Some(file.length) })
                .collect(),
            reference: self.reference(core).await?,
            limits: Limits::default(),
            etag_family: family(self.etag_family),
        };
        let mut streams: Vec<ByteStream> = Vec::new();
        for (_, file) in &self.sources {
            let reader = core.vault().open_file(file).await?;
            let bytes = reader.stream(0..file.length);
            streams.push(Box::pin(bytes.map(|piece| piece.map_err(std::io::Error::other))));
        }
        let inspection = inspector.inspect(&request, streams).await.map_err(|cause| {
            Fault::new(FaultKind::SlowDown, "the bytes could not be inspected").because(cause)
        })?;
        Ok(match inspection.verdict {
            Verdict::Accepted(summary) => Judgement::Sound(summary, inspection.index),
            Verdict::Refused(refusal) => Judgement::Refused(match refusal.source {
                Some(number) if self.sources.len() > 1 => {
                    message(&format!("source{}: {}", number + 1, refusal.reason))
                }
                _ => message(&refusal.reason),
            }),
        })
    }

    async fn reference(&self, core: &Core) -> Result<Option<Vec<SequenceFact>>> {
        let aligned = matches!(self.file_type, "BAM" | "CRAM");
        let Some(arn) = self.reference_arn.filter(|_| aligned) else { return Ok(None) };
        let found = reference::load_arn(core, arn).await?;
        reference::sequences(core, &found.value).await.map(Some)
    }
}

fn family(name: &str) -> EtagFamily {
    match name {
        "SHA256up" => EtagFamily::SHA256up,
        "SHA512up" => EtagFamily::SHA512up,
        _ => EtagFamily::MD5up,
    }
}

/// A reason as a status message: short, without control characters.
pub(crate) fn message(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MESSAGE_CHARS_MAX).collect()
}

/// Puts what was found into `read_set`.
pub(crate) fn apply(read_set: &mut ReadSet, etag_family: &str, summary: &Summary) {
    let files = [Some(&mut read_set.files.source1), read_set.files.source2.as_mut()];
    for (file, found) in files.into_iter().flatten().zip(&summary.sources) {
        file.sha256 = Some(found.sha256.clone());
        file.md5 = Some(found.md5.clone());
        file.crc64nvme = Some(STANDARD.encode(found.crc64nvme.to_be_bytes()));
    }
    let etag =
        |index: usize| summary.sources.get(index).and_then(|source| source.semantic_etag.clone());
    let prefix = if read_set.file_type == "UBAM" { "BAM" } else { &read_set.file_type };
    read_set.facts = Some(ReadSetFacts {
        read_count: summary.sources.iter().map(|source| source.read_count).sum(),
        base_count: summary.sources.iter().map(|source| source.base_count).sum(),
        alignment: (read_set.file_type != "FASTQ").then(|| {
            match summary.alignment {
                Alignment::Aligned => "ALIGNED",
                Alignment::Unaligned => "UNALIGNED",
            }
            .into()
        }),
        etag_algorithm: etag(0).map(|_| format!("{prefix}_{etag_family}")),
        etag_source1: etag(0),
        etag_source2: etag(1),
        summary: kept(summary),
    });
    if !summary.notes.is_empty() {
        read_set.status_message = Some(message(&summary.notes.join("; ")));
    }
}

/// The summary as a row keeps it.
fn kept(summary: &Summary) -> serde_json::Value {
    let whole = serde_json::to_value(summary).unwrap_or_default();
    if whole.to_string().len() <= SUMMARY_BYTES_MAX {
        return whole;
    }
    let mut short = summary.clone();
    if let Some(header) = &mut short.header {
        header.sequences = Vec::new();
    }
    let short = serde_json::to_value(short).unwrap_or_default();
    if short.to_string().len() <= SUMMARY_BYTES_MAX { short } else { serde_json::Value::Null }
}

/// Stages the index that came with a verdict, named after its source.
pub(crate) async fn stage_index(
    core: &Core,
    item: &Item,
    source_name: &str,
    (summary, index): (&Summary, Option<Bytes>),
) -> Result<Option<(ReadSetFile, Staged)>> {
    let (Some(kind), Some(bytes)) = (summary.index, index) else { return Ok(None) };
    let staged = stage_bytes(core, item, FileRole::Index, bytes).await?;
    let file = ReadSetFile {
        name: format!("{source_name}.{}", kind.extension()),
        file: staged.file().clone(),
        etag: crate::read_set::details::draw_etag(core, 1),
        sha256: None,
        md5: None,
        crc64nvme: None,
    };
    Ok(Some((file, staged)))
}

/// Stages `bytes` as a file of `item`.
pub(crate) async fn stage_bytes(
    core: &Core,
    item: &Item,
    role: FileRole,
    bytes: Bytes,
) -> Result<Staged> {
    let spec = FileSpec::new(item.clone(), role, Metadata::None);
    let body = futures::stream::iter([Ok(bytes)]);
    core.vault().stage(spec, body).await.map_err(crate::body::stage_fault)
}

/// Adds to `commit`, which makes `read_set` appear, the job that inspects it.
pub(crate) fn enqueue(jobs: &Jobs, commit: &mut Commit, read_set: &ReadSet) -> uuid::Uuid {
    jobs.enqueue(commit, read_set::KIND, read_set::spec(&read_set.sequence_store, &read_set.id))
}
