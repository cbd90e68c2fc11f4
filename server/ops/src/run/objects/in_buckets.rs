//! [`ObjectAccess`] over the vault's own buckets.

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use readvault_store::vault::{ItemKind, SlotChoice, VaultCommit};

use super::{LocatedObject, ObjectAccess, OutputBody, PendingObject};
use crate::{
    authorize::Permit,
    body::{Algorithm, Checksum},
    bucket::guard,
    core::encode,
    fault::Result,
    object::{
        Checksums, Object, Objects, etag,
        named::Told,
        put::{self, PutObject},
    },
};

#[async_trait]
impl ObjectAccess for Objects {
    async fn locate(&self, _permit: &Permit, bucket: &str, key: &str) -> Result<LocatedObject> {
        let place = self.place(bucket, key).await?;
        let Some(current) = place.current else { return Err(no_such_key()) };
        let object = current.value;
        let sha256 = object.checksums.whole.iter().find(|sum| sum.algorithm() == Algorithm::Sha256);
        Ok(LocatedObject {
            sha256: sha256.map(|sum| hex::encode(sum.value())),
            file: object.file,
            etag: object.etag,
        })
    }

    async fn stage(
        &self,
        _permit: &Permit,
        bucket: &str,
        key: &str,
        body: OutputBody,
    ) -> Result<PendingObject> {
        let target = PutObject { bucket: bucket.into(), key: key.into(), ..PutObject::default() };
        let place = self.admit(&target).await?;
        let store = place.bucket.value.objects()?;
        let vault = self.core().vault();
        let item = vault.new_item(store, ItemKind::Object, SlotChoice::OfStore).await?;
        let etag = etag::draw(self.core().entropy());
        let told = Told::Known { etag: etag.clone(), checksums: Checksums::default() };
        let spec = put::spec(&item, (&target, self.core().now_ms()), &place, told)?;
        let staged = self.core().stage(spec, body).await?;
        Ok(PendingObject {
            bucket: bucket.into(),
            key: key.into(),
            item,
            staged,
            sha256: String::new(),
            etag,
        })
    }

    async fn commit(
        &self,
        _permit: &Permit,
        puts: Vec<PendingObject>,
        mut extra: VaultCommit,
    ) -> Result<bool> {
        let modified_ms = self.core().now_ms();
        let mut guarded: Option<String> = None;
        for pending in puts {
            let place = self.place(&pending.bucket, &pending.key).await?;
            if place.bucket.value.objects()?.id != pending.item.store.id {
                return Err(crate::bucket::no_such_bucket());
            }
            if guarded.as_ref() != Some(&pending.bucket) {
                guard(&mut extra.commit, &place.bucket);
                guarded = Some(pending.bucket.clone());
            }
            match &place.current {
                Some(current) => {
                    extra.commit.unchanged(place.row.clone(), current.version);
                    extra.removes.push(current.value.removal());
                }
                None => {
                    extra.commit.absent(place.row.clone());
                }
            }
            let object = Object {
                item: pending.item,
                file: pending.staged.file().clone(),
                etag: pending.etag,
                modified_ms,
                attributes: crate::object::Attributes::default(),
                checksums: Checksums { whole: sha256(&pending.sha256), composite: None },
                parts: Vec::new(),
                null: true,
            };
            extra.commit.put(place.row, encode(&object));
            extra.files.push(pending.staged);
        }
        self.core().commit(extra).await
    }
}

/// The checksum of a hexadecimal SHA-256; none of anything else.
fn sha256(digest: &str) -> Vec<Checksum> {
    let bytes = hex::decode(digest).unwrap_or_default();
    Checksum::parse(Algorithm::Sha256, &STANDARD.encode(bytes)).into_iter().collect()
}

fn no_such_key() -> crate::Fault {
    crate::Fault::new(crate::FaultKind::NoSuchKey, "there is no such object")
}
