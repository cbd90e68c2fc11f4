//! CompleteMultipartUpload.

use readvault_store::vault::{FileRef, ItemKind, SlotChoice, VaultCommit};

use super::{
    Multiparts, Part, Upload, UploadName, UploadState,
    part_list::{NamedPart, check_order, checksums, choose},
};
use crate::{
    Fault, FaultKind,
    authorize::Permit,
    body::Checksum,
    core::encode,
    fault::Result,
    object::{
        condition::WriteConditions,
        etag,
        named::Told,
        put::{NewObject, PutAnswer, PutObject, spec},
        range::push_part,
    },
};

/// What a Complete says beside its part list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Complete {
    /// The parts, in order.
    pub parts: Vec<NamedPart>,
    /// On what conditions.
    pub conditions: WriteConditions,
    /// Checksums that the object must have: whole ones in full, composite ones without their `-N`.
    pub checksums: Vec<Checksum>,
    /// Its length, when it was declared.
    pub length: Option<u64>,
}

impl Multiparts {
    /// Makes the object out of the parts, without rewriting a chunk, and ends the upload, in one
    /// commit. Durable and visible when it returns; on an error the upload goes on as it was.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchUpload`; `InvalidArgument`, `InvalidPart`, `InvalidPartOrder`,
    /// `EntityTooSmall`, `EntityTooLarge`; `BadDigest` for another checksum; `IncompleteBody` for
    /// another length; `PreconditionFailed`, `NoSuchKey`; those of the vault.
    pub async fn complete(
        &self,
        permit: &Permit,
        name: &UploadName<'_>,
        complete: Complete,
    ) -> Result<PutAnswer> {
        let _ = permit;
        let open = self.open(name).await?;
        check_order(&complete.parts)?;
        let target = PutObject {
            bucket: name.bucket.into(),
            key: name.key.into(),
            attributes: open.upload.value.attributes.clone(),
            conditions: complete.conditions,
        };
        let place = self.objects.admit(&target).await?;
        let put = self.all_parts(name.id).await?;
        let chosen = choose(&complete.parts, &put)?;
        let checksums = checksums(open.upload.value.checksum, &chosen)?;
        let of_object = checksums.composite.iter().map(|(sum, _)| sum).chain(&checksums.whole);
        let of_object: Vec<&Checksum> = of_object.collect();
        let length: u64 = chosen.iter().map(|part| part.file.length).sum();
        check_declared(&complete.checksums, &of_object, complete.length, length)?;
        let slot = SlotChoice::Same(open.upload.value.slot);
        let vault = self.core().vault();
        let item = vault.new_item(&open.store, ItemKind::Object, slot).await?;
        let modified_ms = self.core().now_ms();
        let etag = etag::of_parts(chosen.iter().map(|part| part.etag.as_str()));
        let told = Told::OfParts { etag: etag.clone(), checksums: checksums.clone() };
        let spec = spec(&item, (&target, modified_ms), &place, told)?;
        let files: Vec<FileRef> = chosen.iter().map(|part| part.file.clone()).collect();
        let staged = vault.assemble(spec, &files).await?;
        let mut runs = Vec::new();
        chosen.iter().for_each(|part| push_part(&mut runs, part.file.length));
        let new = NewObject { target, item, etag, modified_ms, checksums, parts: runs };
        let mut commit = VaultCommit::default();
        commit.commit.unchanged(open.row.clone(), open.upload.version);
        let whole = self.end(&mut commit, &open.row, &open.upload.value, &put);
        let answer = self.objects.install(new, staged, commit).await?;
        if !whole {
            self.finish_later(open.row, open.upload.value.id);
        }
        Ok(answer)
    }

    /// Adds to `commit` what ends `upload`; false when its parts are too many for one commit and
    /// stay behind, to be removed by [`Multiparts::finish`].
    pub(super) fn end(
        &self,
        commit: &mut VaultCommit,
        row: &readvault_store::catalog::RowKey,
        upload: &Upload,
        parts: &[Part],
    ) -> bool {
        if parts.len() > super::finish::PARTS_AT_ONCE {
            let ended = Upload { state: UploadState::Ended, ..upload.clone() };
            commit.commit.put(row.clone(), encode(&ended));
            return false;
        }
        commit.commit.delete(row.clone());
        super::finish::remove(commit, &upload.id, parts);
        true
    }
}

fn check_declared(
    declared: &[Checksum],
    computed: &[&Checksum],
    declared_length: Option<u64>,
    length: u64,
) -> Result<()> {
    if let Some(wrong) = declared.iter().find(|declared| !computed.contains(declared)) {
        let name = wrong.algorithm().name();
        let message = format!("the {name} you gave does not match that of the parts");
        return Err(Fault::new(FaultKind::BadDigest, message));
    }
    if declared_length.is_some_and(|declared| declared != length) {
        let message = "the declared size of the object is not that of its parts";
        return Err(Fault::new(FaultKind::IncompleteBody, message));
    }
    Ok(())
}
