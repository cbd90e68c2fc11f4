//! CompleteMultipartReadSetUpload.

use std::collections::BTreeMap;

use readvault_store::{
    catalog::Commit,
    vault::{
        FileRef, FileRole, FileSpec, Item, ItemKind, Metadata, SlotChoice, Staged, VaultCommit,
    },
};
use serde::{Deserialize, Serialize};

use super::{
    PART_NUMBER_MAX, PartSource, ReadSetUpload, UploadedPart, discard, load, part_row, row,
};
use crate::{
    Fault, FaultKind,
    authorize::Permit,
    core::{Core, Stored, contended, decode},
    fault::Result,
    idempotency::Once,
    inspection,
    jobs::Jobs,
    read_set::{
        self, ReadSetFile, ReadSetStatus,
        details::{Birth, draw_etag, upload_names},
        index,
    },
    reference, sequence_store,
};

/// First number of a read set: ids have ten digits.
pub(crate) const FIRST_READ_SET: u64 = 1_000_000_001;
/// Rows of one read of parts.
const READ_ROWS: usize = 500;

/// A part as Complete lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedPart {
    /// Its number, from 1.
    pub part_number: u32,
    /// Which source.
    pub part_source: PartSource,
    /// What its upload answered.
    pub checksum: String,
}

/// Makes a read set of the listed parts, without rewriting a chunk, and lets it be inspected. The
/// read set is `PROCESSING_UPLOAD` and durable when its id is returned. Repeated with the same list
/// it answers the same id.
///
/// # Errors
/// `NoSuchUpload`; `InvalidPart` when a part is absent or has another checksum, `InvalidPartOrder`
/// when the numbers of a source are not 1, 2, 3 …; `NotFound` when the reference is gone.
pub async fn complete(
    core: &Core,
    jobs: &Jobs,
    _permit: &Permit,
    (store, id): (&str, &str),
    parts: Vec<ListedPart>,
) -> Result<String> {
    let once = Once::new("CompleteMultipartReadSetUpload", Some(&format!("{store}/{id}")), &parts);
    let upload = match load(core, store, id).await {
        Ok(upload) => upload,
        Err(gone) if gone.kind == FaultKind::NoSuchUpload => {
            return match once.earlier(core).await {
                Ok(Some(answer)) => Ok(answer),
                Ok(None) | Err(_) => Err(gone),
            };
        }
        Err(fault) => return Err(fault),
    };
    let by_source = sorted(parts)?;
    let file_type = upload.value.details.file_type.clone();
    if file_type != "FASTQ" && by_source.contains_key(&PartSource::Source2) {
        return Err(Fault::invalid("only FASTQ uploads have a SOURCE2"));
    }
    let slot = SlotChoice::Same(upload.value.item.slot);
    let item = core.vault().new_item(&upload.value.item.store, ItemKind::ReadSet, slot).await?;
    let name = upload.value.details.name.clone().unwrap_or_default();
    let names = upload_names(&file_type, &name);
    let mut files = Vec::new();
    let mut staged = Vec::new();
    for ((source, listed), name) in by_source.iter().zip([names.0, names.1]) {
        let found = matched(core, id, *source, listed).await?;
        let count = found.len();
        let made = assemble(core, &item, *source, &found).await?;
        let etag = draw_etag(core, count);
        let file = made.file().clone();
        files.push(ReadSetFile { name, file, etag, sha256: None, md5: None, crc64nvme: None });
        staged.push(made);
    }
    let job = upload.value.id.clone();
    let mut files = files.into_iter();
    let source1 = files.next().ok_or_else(no_parts)?;
    let birth = Birth {
        id: core.next_id("read_set", FIRST_READ_SET).await?.to_string(),
        item,
        status: ReadSetStatus::ProcessingUpload,
        creation_type: "UPLOAD",
        creation_job: job,
        source1,
        source2: files.next(),
    };
    commit(core, jobs, upload, (birth, staged, once)).await
}

fn no_parts() -> Fault {
    Fault::new(FaultKind::InvalidPart, "parts must list the parts of SOURCE1")
}

/// The listed parts by source, in order; SOURCE1 is there and every source is 1, 2, 3 ….
fn sorted(parts: Vec<ListedPart>) -> Result<BTreeMap<PartSource, Vec<ListedPart>>> {
    let mut by_source: BTreeMap<PartSource, Vec<ListedPart>> = BTreeMap::new();
    for part in parts {
        by_source.entry(part.part_source).or_default().push(part);
    }
    if !by_source.contains_key(&PartSource::Source1) {
        return Err(no_parts());
    }
    for (source, parts) in &mut by_source {
        parts.sort_by_key(|part| part.part_number);
        let contiguous = (1..=PART_NUMBER_MAX).zip(parts.iter()).all(|(n, p)| n == p.part_number);
        if !contiguous || parts.len() > 10_000 {
            let source = source.as_str();
            return Err(Fault::new(
                FaultKind::InvalidPartOrder,
                format!("the part numbers of {source} must be 1, 2, 3 and so on, each once"),
            ));
        }
    }
    Ok(by_source)
}

/// The stored bytes of the listed parts, each with the checksum that is listed.
async fn matched(
    core: &Core,
    upload: &str,
    source: PartSource,
    listed: &[ListedPart],
) -> Result<Vec<FileRef>> {
    let mut files = Vec::with_capacity(listed.len());
    for piece in listed.chunks(READ_ROWS) {
        let keys: Vec<_> =
            piece.iter().map(|part| part_row(upload, source, part.part_number)).collect();
        for (row, listed) in core.catalog().read(&keys).await?.into_iter().zip(piece) {
            let wrong = |what: &str| {
                let (source, number) = (source.as_str(), listed.part_number);
                Fault::new(FaultKind::InvalidPart, format!("part {number} of {source} {what}"))
            };
            let row = row.ok_or_else(|| wrong("was not uploaded"))?;
            let part: UploadedPart = decode(&row.value)?;
            if part.checksum != listed.checksum {
                return Err(wrong("has another checksum than the one listed"));
            }
            files.push(part.file);
        }
    }
    Ok(files)
}

async fn assemble(
    core: &Core,
    item: &Item,
    source: PartSource,
    parts: &[FileRef],
) -> Result<Staged> {
    let role = match source {
        PartSource::Source1 => FileRole::Source1,
        PartSource::Source2 => FileRole::Source2,
    };
    let spec = FileSpec::new(item.clone(), role, Metadata::None);
    Ok(core.vault().assemble(spec, parts).await?)
}

/// One commit: the upload ends, the read set appears, and two jobs begin.
async fn commit(
    core: &Core,
    jobs: &Jobs,
    upload: Stored<ReadSetUpload>,
    (birth, files, once): (Birth, Vec<Staged>, Once),
) -> Result<String> {
    let (store, id) = (upload.value.sequence_store.clone(), birth.id.clone());
    let held = sequence_store::load(core, &store).await?;
    let details = upload.value.details.clone();
    let reference = details.check(core, &held.value).await?;
    let binding = details.binding().map(ToOwned::to_owned);
    let read_set = details.read_set(&store, birth, core.now_ms());
    let mut commit = Commit::new();
    let key = row(&store, &upload.value.id);
    commit.unchanged(key.clone(), upload.version).delete(key);
    sequence_store::hold(&mut commit, &held, binding.as_deref());
    reference::hold(&mut commit, reference.as_ref());
    index::add(&mut commit, &read_set);
    once.keep(core, &mut commit, &id);
    let inspect = inspection::enqueue(jobs, &mut commit, &read_set);
    let clean = discard::enqueue(jobs, &mut commit, &upload.value);
    let mut commit = VaultCommit { commit, files, removes: Vec::new() };
    read_set::keep(core, &mut commit, &read_set).await?;
    if !core.commit(commit).await? {
        return Err(contended());
    }
    jobs.wake(inspect);
    jobs.wake(clean);
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u32, source: PartSource) -> ListedPart {
        ListedPart { part_number: number, part_source: source, checksum: "c".into() }
    }

    #[test]
    fn numbers_are_contiguous_from_one_in_any_order() {
        use PartSource::{Source1, Source2};
        let listed = vec![part(2, Source1), part(1, Source2), part(1, Source1)];
        let sorted = sorted(listed).expect("contiguous");
        assert_eq!(sorted[&Source1].iter().map(|p| p.part_number).collect::<Vec<_>>(), [1, 2]);
        for bad in [
            vec![],
            vec![part(1, Source2)],
            vec![part(2, Source1)],
            vec![part(1, Source1), part(3, Source1)],
            vec![part(1, Source1), part(1, Source1)],
            vec![part(0, Source1), part(1, Source1)],
        ] {
            assert!(super::sorted(bad).is_err());
        }
    }
}
