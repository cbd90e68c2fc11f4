//! What a client says of a read set before its bytes come.

use serde::{Deserialize, Serialize};

use super::{ReadSet, ReadSetFile, ReadSetFiles, ReadSetStatus};
use crate::{
    core::{Core, Stored},
    fault::{Fault, Result},
    reference::{self, Reference, ReferenceStatus},
    sequence_store::SequenceStore,
};

/// What a client says of a read set, for upload and import alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadSetDetails {
    /// `FASTQ`, `BAM`, `CRAM` or `UBAM`.
    pub file_type: String,
    /// Its name.
    pub name: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// The subject that it comes from.
    pub subject_id: String,
    /// The sample that it comes from.
    pub sample_id: String,
    /// What it was made from.
    pub generated_from: Option<String>,
    /// ARN of its reference.
    pub reference_arn: Option<String>,
    /// Tags.
    pub tags: Vec<(String, String)>,
}

/// What a new read set is made of, beside its details.
#[derive(Debug)]
pub(crate) struct Birth {
    pub(crate) id: String,
    pub(crate) item: readvault_store::vault::Item,
    pub(crate) status: ReadSetStatus,
    /// `IMPORT` or `UPLOAD`.
    pub(crate) creation_type: &'static str,
    pub(crate) creation_job: String,
    pub(crate) source1: ReadSetFile,
    pub(crate) source2: Option<ReadSetFile>,
}

impl ReadSetDetails {
    /// Checks these details against `store`; the reference that they name, if they name one.
    ///
    /// # Errors
    /// `InvalidArgument` with the field; `NotFound` for the reference.
    pub async fn check(
        &self,
        core: &Core,
        store: &SequenceStore,
    ) -> Result<Option<Stored<Reference>>> {
        let aligned = matches!(self.file_type.as_str(), "BAM" | "CRAM");
        if !aligned && !matches!(self.file_type.as_str(), "FASTQ" | "UBAM") {
            return Err(Fault::invalid("sourceFileType must be FASTQ, BAM, CRAM or UBAM"));
        }
        let Some(arn) = &self.reference_arn else {
            if aligned && store.requires_reference() {
                return Err(Fault::invalid(
                    "referenceArn is required for BAM and CRAM in this sequence store",
                ));
            }
            return Ok(None);
        };
        if let Some(bound) = &store.reference_arn
            && bound != arn
            && aligned
        {
            return Err(Fault::invalid(format!(
                "aligned read sets of this sequence store use the reference {bound}"
            )));
        }
        let found = reference::load_arn(core, arn).await?;
        if found.value.status != ReferenceStatus::Active {
            return Err(Fault::invalid("the reference of referenceArn is not active"));
        }
        Ok(Some(found))
    }

    /// The reference that these details bind their store to.
    pub(crate) fn binding(&self) -> Option<&str> {
        let aligned = matches!(self.file_type.as_str(), "BAM" | "CRAM");
        self.reference_arn.as_deref().filter(|_| aligned)
    }

    /// The read set of `store` that these details and `birth` make.
    pub(crate) fn read_set(self, store: &str, birth: Birth, now_ms: u64) -> ReadSet {
        ReadSet {
            id: birth.id,
            sequence_store: store.into(),
            item: birth.item,
            status: birth.status,
            status_message: None,
            file_type: self.file_type,
            name: self.name,
            description: self.description,
            subject_id: self.subject_id,
            sample_id: self.sample_id,
            generated_from: self.generated_from,
            reference_arn: self.reference_arn,
            creation_type: birth.creation_type.into(),
            creation_job: Some(birth.creation_job),
            created_ms: now_ms,
            tags: self.tags,
            files: ReadSetFiles { source1: birth.source1, source2: birth.source2, index: None },
            facts: None,
        }
    }
}

/// The S3 ETag of a file of `parts` parts: opaque, and constant for life.
pub(crate) fn draw_etag(core: &Core, parts: usize) -> String {
    let random: [u8; 16] = readvault_ambient::random(core.entropy());
    format!("{}-{}", hex::encode(random), parts.max(1))
}

/// The base names of the sources of an upload called `name` (docs/omics-compat.md).
pub(crate) fn upload_names(file_type: &str, name: &str) -> (String, String) {
    let name = name.replace('/', "_");
    match file_type {
        "FASTQ" => (format!("{name}_source1.fastq.gz"), format!("{name}_source2.fastq.gz")),
        "CRAM" => (format!("{name}.cram"), String::new()),
        _ => (format!("{name}.bam"), String::new()),
    }
}

/// The base names of imported sources; on a clash the number of the source is put in.
pub(crate) fn import_names(key1: &str, key2: Option<&str>) -> (String, Option<String>) {
    let base = |key: &str| key.rsplit('/').next().unwrap_or(key).to_owned();
    let (first, second) = (base(key1), key2.map(base));
    match second {
        Some(second) if second == first => {
            (numbered(&first, "source1"), Some(numbered(&second, "source2")))
        }
        second => (first, second),
    }
}

fn numbered(name: &str, source: &str) -> String {
    for ending in [".fastq.gz", ".fq.gz", ".fastq", ".fq"] {
        if let Some(stem) = name.strip_suffix(ending) {
            return format!("{stem}_{source}{ending}");
        }
    }
    format!("{name}_{source}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_contract() {
        assert_eq!(upload_names("FASTQ", "s").0, "s_source1.fastq.gz");
        assert_eq!(upload_names("UBAM", "a/b").0, "a_b.bam");
        assert_eq!(
            import_names("run/a_1.fq.gz", Some("run/a_2.fq.gz")).1.as_deref(),
            Some("a_2.fq.gz")
        );
        let clash = import_names("l1/a.fastq.gz", Some("l2/a.fastq.gz"));
        assert_eq!(clash, ("a_source1.fastq.gz".into(), Some("a_source2.fastq.gz".into())));
    }
}
