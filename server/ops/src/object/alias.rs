//! The alias of a sequence store: its read sets as objects of a read-only bucket
//! (docs/s3-compat.md).
//!
//! Keys are `{account}/sequenceStore/{store}/readSet/{id}/{file name}`; the rows of read sets are
//! ordered by id, so a list is one walk over them.

use readvault_store::catalog::{Fold, ScanRange};

use super::{
    Attributes, Checksums, Found, Headers,
    find::no_such_key,
    list::{Cursor, Entry, ListObjects, Listed, Listing, PAGE_MAX, Start, group},
};
use crate::{
    body::{Algorithm, Checksum},
    core::{Core, Stored, decode, key_of},
    fault::Result,
    read_set::{self, ReadSet, ReadSetFile, ReadSetStatus},
    sequence_store::{self, SequenceStore},
    tables,
};

/// Read sets read at once.
const ROWS: usize = 256;

/// Name of the metadata that gives the semantic ETag of a file.
pub const SEMANTIC_ETAG: &str = "rv-semantic-etag";

/// Name of the metadata that gives the algorithm of the semantic ETag.
pub const SEMANTIC_ETAG_ALGORITHM: &str = "rv-semantic-etag-algorithm";

/// What keys of the alias of `store` begin with.
fn base(core: &Core, store: &str) -> String {
    format!("{}/sequenceStore/{store}/readSet/", core.site().account)
}

/// Whether a read set is seen in the alias at all.
fn visible(status: ReadSetStatus) -> bool {
    match status {
        ReadSetStatus::Active
        | ReadSetStatus::Archived
        | ReadSetStatus::Activating
        | ReadSetStatus::ProcessingUpload => true,
        ReadSetStatus::UploadFailed | ReadSetStatus::Deleting | ReadSetStatus::Deleted => false,
    }
}

async fn load(core: &Core, store: &str, key: &str) -> Result<(ReadSet, String)> {
    let base = base(core, store);
    let rest = key.strip_prefix(&base).ok_or_else(no_such_key)?;
    let (id, name) = rest.split_once('/').ok_or_else(no_such_key)?;
    let row: Option<Stored<ReadSet>> = core.load(&read_set::row(store, id)).await?;
    let read_set = row.ok_or_else(no_such_key)?.value;
    if !visible(read_set.status) {
        return Err(no_such_key());
    }
    Ok((read_set, name.into()))
}

/// What `key` of the alias of `store` stands for.
///
/// # Errors
/// `NoSuchKey`; those of the catalog.
pub(super) async fn find(core: &Core, store: &str, key: &str) -> Result<Found> {
    let (read_set, name) = load(core, store, key).await?;
    let file = files(&read_set).find(|file| file.name == name).ok_or_else(no_such_key)?;
    Ok(Found {
        file: file.file.clone(),
        etag: file.etag.clone(),
        modified_ms: read_set.created_ms,
        attributes: Attributes {
            headers: Headers {
                content_type: Some("application/octet-stream".into()),
                ..Headers::default()
            },
            metadata: semantic_etag(&read_set, &name),
            tags: Vec::new(),
        },
        checksums: checksums(file),
        parts: Vec::new(),
        read_set: Some(read_set.status),
    })
}

/// The tags of `key` of the alias of `store`.
///
/// # Errors
/// As [`find`].
pub(super) async fn tags(core: &Core, store: &str, key: &str) -> Result<Vec<(String, String)>> {
    let (read_set, name) = load(core, store, key).await?;
    if !files(&read_set).any(|file| file.name == name) {
        return Err(no_such_key());
    }
    let row: Option<Stored<SequenceStore>> = core.load(&sequence_store::row(store)).await?;
    let propagated = row.map(|row| row.value.propagated_tags).unwrap_or_default();
    let mut tags = vec![
        ("omics:subjectId".into(), read_set.subject_id.clone()),
        ("omics:sampleId".into(), read_set.sample_id.clone()),
        ("omics:readSetStatus".into(), status_name(read_set.status).into()),
    ];
    tags.extend(read_set.tags.iter().filter(|(key, _)| propagated.contains(key)).cloned());
    Ok(tags)
}

/// A page of the alias of `store`.
///
/// # Errors
/// Those of the catalog.
pub(super) async fn list(core: &Core, store: &str, list: &ListObjects) -> Result<Listing> {
    let base = base(core, store);
    let limit = list.limit.min(PAGE_MAX);
    let mut listing = Listing::default();
    let mut floor = Floor::of(list);
    'walk: while let Some(range) = floor.rows(&base, store, &list.prefix) {
        let page = core.catalog().scan(&range, &Fold::default(), ROWS).await?;
        let more = page.next.is_some();
        let mut last = None;
        for row in page.rows() {
            let read_set: ReadSet = decode(&row.value)?;
            last = Some(format!("{base}{}0", read_set.id));
            for key_file in keys(&base, &read_set) {
                let (key, file) = key_file;
                if key.as_bytes() < floor.least.as_slice() {
                    continue;
                }
                if !key.starts_with(&list.prefix) {
                    if key > list.prefix {
                        break 'walk;
                    }
                    continue;
                }
                if listing.entries.len() == limit {
                    listing.next = Some(Cursor(floor.least));
                    return Ok(listing);
                }
                if let Some(prefix) = group(&key, list) {
                    floor.least = past(prefix.as_bytes());
                    listing.entries.push(Entry::Prefix(prefix.into()));
                    if !prefix.starts_with(&base) || prefix.len() <= base.len() {
                        // All read sets of the store stand in this group.
                        break 'walk;
                    }
                    continue;
                }
                floor.least = [key.as_bytes(), &[0]].concat();
                listing.entries.push(Entry::Object(listed(key, file, &read_set)));
            }
        }
        match last {
            Some(last) if more => floor.raise(last.into_bytes()),
            _ => break,
        }
    }
    Ok(listing)
}

/// The least key that may still be listed.
struct Floor {
    least: Vec<u8>,
}

impl Floor {
    fn of(list: &ListObjects) -> Self {
        let begin = match &list.start {
            Start::First => Vec::new(),
            Start::At(cursor) => cursor.0.clone(),
            Start::After(marker) => match group(marker, list) {
                Some(group) => past(group.as_bytes()),
                None => [marker.as_bytes(), &[0]].concat(),
            },
        };
        Self { least: begin.max(list.prefix.clone().into_bytes()) }
    }

    fn raise(&mut self, key: Vec<u8>) {
        if key > self.least {
            self.least = key;
        }
    }

    /// The rows of read sets whose keys may stand at or above the floor; none when all keys of the
    /// store stand below it, or outside the prefix.
    fn rows(&self, base: &str, store: &str, prefix: &str) -> Option<ScanRange> {
        let shared = prefix.len().min(base.len());
        if prefix.as_bytes()[..shared] != base.as_bytes()[..shared] {
            return None;
        }
        let all = ScanRange::prefix(tables::READ_SETS, key_of(&[store]));
        if self.least.as_slice() <= base.as_bytes() {
            return Some(all);
        }
        let rest = self.least.strip_prefix(base.as_bytes())?;
        let id = rest.split(|byte| *byte == b'/').next().unwrap_or_default();
        let mut start = key_of(&[store]);
        start.extend_from_slice(id);
        Some(all.from(start))
    }
}

/// The least text beyond everything that begins with `prefix`.
fn past(prefix: &[u8]) -> Vec<u8> {
    readvault_store::catalog::after_prefix(prefix).unwrap_or_else(|| vec![0xFF])
}

fn files(read_set: &ReadSet) -> impl Iterator<Item = &ReadSetFile> {
    let files = &read_set.files;
    std::iter::once(&files.source1).chain(&files.source2).chain(&files.index)
}

fn keys<'a>(base: &str, read_set: &'a ReadSet) -> Vec<(String, &'a ReadSetFile)> {
    if !visible(read_set.status) || read_set.status == ReadSetStatus::ProcessingUpload {
        return Vec::new();
    }
    let mut keys: Vec<_> = files(read_set)
        .map(|file| (format!("{base}{}/{}", read_set.id, file.name), file))
        .collect();
    keys.sort_by(|a, b| a.0.cmp(&b.0));
    keys
}

fn listed(key: String, file: &ReadSetFile, read_set: &ReadSet) -> Listed {
    Listed {
        key,
        etag: file.etag.clone(),
        length: file.file.length,
        modified_ms: read_set.created_ms,
        checksum: checksums(file).whole.first().map(|sum| (sum.algorithm(), false)),
        read_set: Some(read_set.status),
    }
}

fn checksums(file: &ReadSetFile) -> Checksums {
    let sha256 = file.sha256.as_deref().and_then(|text| {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let text = STANDARD.encode(hex::decode(text).ok()?);
        Checksum::parse(Algorithm::Sha256, &text).ok()
    });
    let crc64 = file.crc64nvme.as_deref();
    let crc64 = crc64.and_then(|text| Checksum::parse(Algorithm::Crc64Nvme, text).ok());
    Checksums { whole: crc64.into_iter().chain(sha256).collect(), composite: None }
}

fn semantic_etag(read_set: &ReadSet, name: &str) -> Vec<(String, String)> {
    let Some(facts) = &read_set.facts else { return Vec::new() };
    let second = read_set.files.source2.as_ref().is_some_and(|file| file.name == name);
    let etag = if second {
        &facts.etag_source2
    } else if read_set.files.source1.name == name {
        &facts.etag_source1
    } else {
        &None
    };
    let Some(etag) = etag else { return Vec::new() };
    let mut metadata = vec![(SEMANTIC_ETAG.to_owned(), etag.clone())];
    if let Some(algorithm) = &facts.etag_algorithm {
        metadata.push((SEMANTIC_ETAG_ALGORITHM.into(), algorithm.clone()));
    }
    metadata
}

fn status_name(status: ReadSetStatus) -> &'static str {
    match status {
        ReadSetStatus::ProcessingUpload => "PROCESSING_UPLOAD",
        ReadSetStatus::UploadFailed => "UPLOAD_FAILED",
        ReadSetStatus::Active => "ACTIVE",
        ReadSetStatus::Archived => "ARCHIVED",
        ReadSetStatus::Activating => "ACTIVATING",
        ReadSetStatus::Deleting => "DELETING",
        ReadSetStatus::Deleted => "DELETED",
    }
}
