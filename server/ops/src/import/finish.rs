//! The last commit of a source: what it became appears.

use bytes::Bytes;
use readvault_inspect_protocol::{Container, SequenceFact, Summary};
use readvault_store::{
    catalog::Commit,
    vault::{FileRole, VaultCommit},
};

use super::{ImportItem, ItemStatus, StoredItem, job::Work};
use crate::{
    Fault, FaultKind,
    core::{Core, encode},
    fault::Result,
    inspection::{apply, stage_bytes, stage_index},
    kept::{self, Owner},
    read_set::{
        ReadSetFile, ReadSetStatus,
        details::{Birth, draw_etag, import_names},
        index,
    },
    read_set_upload::complete::FIRST_READ_SET,
    reference::{self, Reference, ReferenceStatus},
    reference_store, sequence_store,
};

/// First number of a reference: ids have ten digits.
const FIRST_REFERENCE: u64 = 1_000_000_001;

/// Makes the read set that the judged source of `work` becomes.
pub(super) async fn read_set(
    core: &Core,
    work: &Work<'_>,
    (summary, index_bytes): (&Summary, Option<Bytes>),
) -> Result<()> {
    let store = sequence_store::load(core, &work.job.store).await?;
    let item = &work.item.value;
    let found = item.details.check(core, &store.value).await?;
    let stored = stored(item)?;
    let key2 = item.source2.as_ref().map(|uri| uri.key.as_str());
    let (name1, name2) = import_names(&item.source1.key, key2);
    let mut files = stored.files.iter();
    let mut file = |name: String| files.next().map(|file| source_file(core, name, file.clone()));
    let birth = Birth {
        id: core.next_id("read_set", FIRST_READ_SET).await?.to_string(),
        item: stored.item.clone(),
        status: ReadSetStatus::Active,
        creation_type: "IMPORT",
        creation_job: work.job.id.clone(),
        source1: file(name1).ok_or_else(|| Fault::internal("a source has no file"))?,
        source2: name2.and_then(&mut file),
    };
    let binding = item.details.binding().map(ToOwned::to_owned);
    let mut made = item.details.clone().read_set(&work.job.store, birth, core.now_ms());
    apply(&mut made, &store.value.etag_family, summary);
    let name = made.files.source1.name.clone();
    let mut staged = Vec::new();
    if let Some((file, index)) =
        stage_index(core, &made.item, &name, (summary, index_bytes)).await?
    {
        made.files.index = Some(file);
        staged.push(index);
    }
    let mut commit = Commit::new();
    sequence_store::hold(&mut commit, &store, binding.as_deref());
    reference::hold(&mut commit, found.as_ref());
    index::add(&mut commit, &made);
    finished(work, &mut commit, made.id.clone());
    let mut commit = VaultCommit { commit, files: staged, removes: Vec::new() };
    crate::read_set::keep(core, &mut commit, &made).await?;
    applied(core, commit).await
}

/// Makes the reference that the judged source of `work` becomes.
pub(super) async fn reference(
    core: &Core,
    work: &Work<'_>,
    (summary, index_bytes): (&Summary, Option<Bytes>),
) -> Result<()> {
    let store = reference_store::load(core, &work.job.store).await?;
    let item = &work.item.value;
    let stored = stored(item)?;
    let (name, _) = import_names(&item.source1.key, None);
    let file = stored.files.first().ok_or_else(|| Fault::internal("a source has no file"))?;
    let mut source = source_file(core, name.clone(), file.clone());
    let found =
        summary.sources.first().ok_or_else(|| Fault::internal("a verdict names no source"))?;
    source.sha256 = Some(found.sha256.clone());
    source.md5 = Some(found.md5.clone());
    let md5 = match found.container {
        Container::Plain => found.md5.clone(),
        _ => found.semantic_etag.clone().unwrap_or_else(|| found.md5.clone()),
    };
    let sequences: Vec<SequenceFact> = summary
        .reference
        .iter()
        .map(|sequence| SequenceFact {
            name: sequence.name.clone(),
            length: sequence.length,
            md5: Some(sequence.md5.clone()),
        })
        .collect();
    let listed = stage_bytes(core, &stored.item, FileRole::Object, encode(&sequences)).await?;
    let index = stage_index(core, &stored.item, &name, (summary, index_bytes)).await?;
    let (index, index_staged) = index.unzip();
    let now = core.now_ms();
    let made = Reference {
        id: core.next_id("reference", FIRST_REFERENCE).await?.to_string(),
        reference_store: work.job.store.clone(),
        item: stored.item.clone(),
        status: ReferenceStatus::Active,
        name: item.details.name.clone().unwrap_or_default(),
        description: item.details.description.clone(),
        md5,
        created_ms: now,
        updated_ms: now,
        creation_job: work.job.id.clone(),
        tags: item.details.tags.clone(),
        source,
        index,
        sequences: listed.file().clone(),
    };
    let mut commit = Commit::new();
    reference_store::hold(&mut commit, &store);
    commit.put(reference::row(&made.reference_store, &made.id), encode(&made));
    finished(work, &mut commit, made.id.clone());
    let files = std::iter::once(listed).chain(index_staged).collect();
    let mut commit = VaultCommit { commit, files, removes: Vec::new() };
    let rows = [reference::row(&made.reference_store, &made.id)];
    let taken = [("reference", made.id.as_str())];
    kept::keep(core, &mut commit, Owner::item(&made.item), (&rows, &taken)).await?;
    applied(core, commit).await
}

fn stored(item: &ImportItem) -> Result<&StoredItem> {
    item.stored.as_ref().ok_or_else(|| Fault::internal("a source was judged and not stored"))
}

fn source_file(core: &Core, name: String, file: readvault_store::vault::FileRef) -> ReadSetFile {
    let etag = draw_etag(core, 1);
    ReadSetFile { name, file, etag, sha256: None, md5: None, crc64nvme: None }
}

fn finished(work: &Work<'_>, commit: &mut Commit, made: String) {
    let item = ImportItem {
        status: ItemStatus::Finished,
        status_message: None,
        made: Some(made),
        stored: None,
        ..work.item.value.clone()
    };
    work.put(commit, &item);
}

async fn applied(core: &Core, commit: VaultCommit) -> Result<()> {
    if core.commit(commit).await? {
        return Ok(());
    }
    Err(Fault::new(FaultKind::Conflict, "the store changed while a source was imported"))
}
