//! UploadPart and UploadPartCopy.

use std::ops::Range;

use readvault_store::{
    catalog::RowKey,
    vault::{FileRole, FileSpec, Item, ItemKind, Metadata, SlotChoice, Staged, Store, VaultCommit},
};

use super::{
    Multiparts, PART_BYTES_MAX, PART_NUMBER_MAX, Part, Upload, UploadName, UploadState,
    no_such_upload, part_row,
};
use crate::{
    Fault, FaultKind,
    authorize::Permit,
    body::{Body, Checking, Digests, Noted},
    core::{Stored, contended, decode, encode},
    fault::Result,
    object::{
        condition::ReadConditions,
        copy::Bring,
        etag,
        find::Name,
        range::{Wanted, plan},
    },
};

/// An upload that takes parts, and where.
pub(super) struct OpenUpload {
    pub(super) row: RowKey,
    pub(super) upload: Stored<Upload>,
    pub(super) store: Store,
}

impl Multiparts {
    /// Puts a part; one of the same number before it ends in the same commit. Durable when it
    /// returns.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchUpload`, `Immutable`; `InvalidArgument` for a number outside 1 to
    /// 10,000; `EntityTooLarge` above 5 GiB; those of the body and of the vault.
    pub async fn put_part(
        &self,
        permit: &Permit,
        name: &UploadName<'_>,
        number: u32,
        mut body: Body,
    ) -> Result<Part> {
        let _ = permit;
        check_number(number)?;
        let open = self.open(name).await?;
        if body.length > PART_BYTES_MAX {
            let message = "a part has at most 5 GiB";
            return Err(Fault::new(FaultKind::EntityTooLarge, message));
        }
        if let Some((algorithm, _)) = open.upload.value.checksum {
            body.declared.compute.push(algorithm);
        }
        let (item, spec) = self.part_spec(&open).await?;
        let wish = self.objects.settings().etag.wish_of_part();
        let mut checking = Checking::new(body, wish);
        let staged = self.core().stage(spec, &mut checking).await?;
        self.keep(name, item, number, (staged, checking.into_digests())).await
    }

    /// Puts a part that is a range of an object or of a file of a read set. Promises as
    /// [`Multiparts::put_part`].
    ///
    /// # Errors
    /// Those of reading the source and of [`Multiparts::put_part`].
    pub async fn copy_part(
        &self,
        permit: &Permit,
        name: &UploadName<'_>,
        number: u32,
        source: &PartSource<'_>,
    ) -> Result<Part> {
        check_number(number)?;
        let open = self.open(name).await?;
        let found = self.objects.find(&source.name).await?;
        source.conditions.check_source(&found.etag, found.modified_ms)?;
        found.readable()?;
        let range = source_range(source.range.clone(), found.file.length)?;
        if range.end - range.start > PART_BYTES_MAX {
            let message = "a part has at most 5 GiB: give a range of the source";
            return Err(Fault::new(FaultKind::EntityTooLarge, message));
        }
        let (item, spec) = self.part_spec(&open).await?;
        let bring = Bring {
            range,
            md5: self.objects.settings().etag.wish_of_part(),
            compute: open.upload.value.checksum.map(|(algorithm, _)| algorithm),
            noted: Noted::default(),
        };
        let staged = self.objects.bring(permit, spec, &found, bring).await?;
        self.keep(name, item, number, staged).await
    }

    /// The upload `name`, while it takes parts.
    pub(super) async fn open(&self, name: &UploadName<'_>) -> Result<OpenUpload> {
        let row = self.row_of(name).await?;
        let bucket = self.objects.buckets().lookup(name.bucket).await?;
        let store = bucket.objects()?.clone();
        let upload: Option<Stored<Upload>> = self.core().load(&row).await?;
        match upload {
            Some(upload) if upload.value.state == UploadState::Open => {
                Ok(OpenUpload { row, upload, store })
            }
            _ => {
                self.objects.buckets().must_exist(name.bucket).await?;
                Err(no_such_upload())
            }
        }
    }

    async fn part_spec(&self, open: &OpenUpload) -> Result<(Item, FileSpec)> {
        let slot = SlotChoice::Same(open.upload.value.slot);
        let item = self.core().vault().new_item(&open.store, ItemKind::Upload, slot).await?;
        let spec = FileSpec::new(item.clone(), FileRole::Part, Metadata::None);
        Ok((item, spec))
    }

    async fn keep(
        &self,
        name: &UploadName<'_>,
        item: Item,
        number: u32,
        (staged, digests): (Staged, Digests),
    ) -> Result<Part> {
        let upload_row = self.row_of(name).await?;
        let part_row = part_row(name.id, number);
        let part = Part {
            number,
            item: item.id,
            file: staged.file().clone(),
            etag: etag::of(&digests, etag::draw(self.core().entropy())),
            modified_ms: self.core().now_ms(),
            checksums: digests.checksums,
        };
        let _lock = self.objects.lock(&part_row).await;
        let rows = self.core().catalog().read(&[upload_row.clone(), part_row.clone()]).await?;
        let [upload, before] = rows.try_into().map_err(|_| Fault::internal("a row is missing"))?;
        let upload = upload.ok_or_else(no_such_upload)?;
        if decode::<Upload>(&upload.value)?.state != UploadState::Open {
            return Err(no_such_upload());
        }
        let mut commit = VaultCommit::default();
        commit.commit.unchanged(upload_row, upload.version);
        match before {
            Some(before) => {
                commit.commit.unchanged(part_row.clone(), before.version);
                commit.removes.push(decode::<Part>(&before.value)?.removal());
            }
            None => {
                commit.commit.absent(part_row.clone());
            }
        }
        commit.commit.put(part_row, encode(&part));
        commit.files.push(staged);
        if self.core().commit(commit).await? { Ok(part) } else { Err(contended()) }
    }
}

/// Where a part is copied from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartSource<'a> {
    /// The object.
    pub name: Name<'a>,
    /// Its bytes, when not all.
    pub range: Option<Range<u64>>,
    /// On what conditions.
    pub conditions: ReadConditions,
}

fn check_number(number: u32) -> Result<()> {
    if (1..=PART_NUMBER_MAX).contains(&number) {
        return Ok(());
    }
    Err(Fault::invalid("a part number is 1 to 10000"))
}

/// The range of a copy must lie within the source, unlike that of a GET.
fn source_range(range: Option<Range<u64>>, length: u64) -> Result<Range<u64>> {
    let Some(range) = range else { return Ok(0..length) };
    if range.end > length {
        let message = "the range of the copy does not lie within its source";
        return Err(Fault::new(FaultKind::InvalidRange, message));
    }
    Ok(plan(Wanted::From(range.start, Some(range.end - 1)), length, &[])?.range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges_have_limits() {
        assert!(check_number(0).is_err() && check_number(PART_NUMBER_MAX + 1).is_err());
        assert!(check_number(1).is_ok() && check_number(PART_NUMBER_MAX).is_ok());
        assert_eq!(source_range(None, 7).unwrap(), 0..7);
        assert_eq!(source_range(Some(2..7), 7).unwrap(), 2..7);
        let fault = source_range(Some(2..8), 7).unwrap_err();
        assert_eq!(fault.kind, FaultKind::InvalidRange);
    }
}
