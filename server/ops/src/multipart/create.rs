//! CreateMultipartUpload.

use readvault_store::{
    catalog::Commit,
    vault::{ItemKind, SlotChoice},
};

use super::{ChecksumKind, Multiparts, UPLOADS_OPEN_MAX, Upload, UploadState, check_room, row};
use crate::{
    Fault,
    authorize::Permit,
    body::Algorithm,
    bucket::guard,
    core::{DECISIONS_MAX, contended, encode},
    fault::Result,
    object::put::PutObject,
};

/// The checksum of an upload that asks for `algorithm` and perhaps says how.
///
/// # Errors
/// `InvalidArgument` for a combination that S3 does not have.
pub fn checksum_kind(
    algorithm: Option<Algorithm>,
    kind: Option<ChecksumKind>,
) -> Result<Option<(Algorithm, ChecksumKind)>> {
    let Some(algorithm) = algorithm else {
        return match kind {
            None => Ok(None),
            Some(_) => Err(Fault::invalid("a checksum type needs a checksum algorithm")),
        };
    };
    let kind = kind.unwrap_or(match algorithm {
        Algorithm::Crc64Nvme => ChecksumKind::FullObject,
        _ => ChecksumKind::Composite,
    });
    let exists = match kind {
        ChecksumKind::FullObject => algorithm.combines(),
        ChecksumKind::Composite => algorithm != Algorithm::Crc64Nvme,
    };
    if !exists {
        let message = format!("the checksum type does not exist for {}", algorithm.name());
        return Err(Fault::invalid(message));
    }
    Ok(Some((algorithm, kind)))
}

impl Multiparts {
    /// Begins an upload; conditions of `target` are ignored. Durable when it returns.
    ///
    /// # Errors
    /// `NoSuchBucket`; `QuotaExceeded` above [`UPLOADS_OPEN_MAX`]; `Immutable` for the alias of a sequence
    /// store; those of
    /// [`PutObject::check`]; `SlowDown`; those of the vault.
    pub async fn create(
        &self,
        permit: &Permit,
        target: PutObject,
        checksum: Option<(Algorithm, ChecksumKind)>,
    ) -> Result<Upload> {
        let _ = permit;
        let buckets = self.objects.buckets();
        let store = buckets.lookup(&target.bucket).await?.objects()?.id;
        target.check()?;
        check_room(self.core(), store, UPLOADS_OPEN_MAX).await?;
        for _ in 0..DECISIONS_MAX {
            let bucket = buckets.load(&target.bucket).await?;
            let store = bucket.value.objects()?;
            let vault = self.core().vault();
            let item = vault.new_item(store, ItemKind::Upload, SlotChoice::OfStore).await?;
            let upload = Upload {
                id: item.id.to_string(),
                key: target.key.clone(),
                state: UploadState::Open,
                slot: item.slot,
                created_ms: self.core().now_ms(),
                attributes: target.attributes.clone(),
                checksum,
            };
            let row = row(store.id, &upload.key, &upload.id);
            let mut commit = Commit::new();
            guard(&mut commit, &bucket);
            commit.absent(row.clone()).put(row, encode(&upload));
            if self.core().commit(commit).await? {
                return Ok(upload);
            }
            buckets.forget(&target.bucket);
        }
        Err(contended())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_types_are_those_of_s3() {
        use Algorithm::{Crc32, Crc64Nvme, Sha1, Sha256};
        use ChecksumKind::{Composite, FullObject};
        assert_eq!(checksum_kind(None, None).unwrap(), None);
        assert!(checksum_kind(None, Some(Composite)).is_err());
        assert_eq!(checksum_kind(Some(Crc32), None).unwrap(), Some((Crc32, Composite)));
        let full = checksum_kind(Some(Crc32), Some(FullObject));
        assert_eq!(full.unwrap(), Some((Crc32, FullObject)));
        assert_eq!(checksum_kind(Some(Crc64Nvme), None).unwrap(), Some((Crc64Nvme, FullObject)));
        assert!(checksum_kind(Some(Crc64Nvme), Some(Composite)).is_err());
        assert!(checksum_kind(Some(Sha256), Some(FullObject)).is_err());
        assert_eq!(checksum_kind(Some(Sha1), None).unwrap(), Some((Sha1, Composite)));
    }
}
