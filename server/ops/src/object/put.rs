//! PutObject, and the commit by which every new object becomes visible.

use readvault_store::{
    ids::ItemId,
    vault::{FileRole, FileSpec, Item, ItemKind, SlotChoice, Staged, VaultCommit},
};

use super::{
    Attributes, Checksums, METADATA_BYTES_MAX, Object, Objects, PUT_BYTES_MAX, Place,
    condition::WriteConditions,
    etag, key,
    named::{Named, Told},
    tags,
};
use crate::{
    Fault, FaultKind,
    authorize::Permit,
    body::{Body, Checking, Noted},
    bucket::guard,
    core::{contended, encode},
    fault::Result,
};

/// Where an object is put, what is said about it, and on what conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutObject {
    /// Name of the bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// What is said about it.
    pub attributes: Attributes,
    /// On what conditions.
    pub conditions: WriteConditions,
}

/// An object that was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutAnswer {
    /// Its ETag, without quotes.
    pub etag: String,
    /// Milliseconds since 1970 at which it was put.
    pub modified_ms: u64,
    /// Its checksums.
    pub checksums: Checksums,
    /// Its length in bytes.
    pub length: u64,
}

/// What a new object is, beside its bytes.
pub(crate) struct NewObject {
    pub(crate) target: PutObject,
    pub(crate) item: Item,
    pub(crate) etag: String,
    pub(crate) modified_ms: u64,
    pub(crate) checksums: Checksums,
    pub(crate) parts: Vec<(u32, u64)>,
}

impl PutObject {
    /// Checks everything that can be checked before the body.
    ///
    /// # Errors
    /// `InvalidKey`, `KeyTooLong`, `InvalidTag`, `MetadataTooLarge`.
    pub fn check(&self) -> Result<()> {
        key::check(&self.key)?;
        tags::check(&self.attributes.tags, tags::OBJECT_TAGS_MAX)?;
        let metadata = &self.attributes.metadata;
        let bytes: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > METADATA_BYTES_MAX {
            let message = "the user metadata is above 2,048 bytes";
            return Err(Fault::new(FaultKind::MetadataTooLarge, message));
        }
        Ok(())
    }
}

impl Objects {
    /// Puts an object. Durable and visible when it returns; nothing is visible when it fails or
    /// when the future is dropped before its commit. An object that is replaced ends in the same
    /// commit.
    ///
    /// # Errors
    /// `NoSuchBucket`; `Immutable` for the alias of a sequence store; those of
    /// [`PutObject::check`]; `PreconditionFailed`, `NoSuchKey`; those of the body (`BadDigest`,
    /// `IncompleteBody`, …); `EntityTooLarge` above 5 GiB; those of the vault.
    pub async fn put(&self, permit: &Permit, target: PutObject, body: Body) -> Result<PutAnswer> {
        let _ = permit;
        let place = self.admit(&target).await?;
        if body.length > PUT_BYTES_MAX {
            let message = "one request puts at most 5 GiB: put the object in parts";
            return Err(Fault::new(FaultKind::EntityTooLarge, message));
        }
        let store = place.bucket.value.objects()?;
        let vault = self.core().vault();
        let item = vault.new_item(store, ItemKind::Object, SlotChoice::OfStore).await?;
        let modified_ms = self.core().now_ms();
        let (drawn, noted) = (etag::draw(self.core().entropy()), Noted::default());
        let told = Told::AtTheEnd { drawn: drawn.clone(), known: None, noted: noted.clone() };
        let spec = spec(&item, (&target, modified_ms), &place, told)?;
        let wish = self.settings.etag.wish_of_object(body.length);
        let mut checking = Checking::new(body, wish).noting(noted);
        let staged = self.core().stage(spec, &mut checking).await?;
        let digests = checking.into_digests();
        let new = NewObject {
            target,
            item,
            etag: etag::of(&digests, drawn),
            modified_ms,
            checksums: Checksums { whole: digests.checksums, composite: None },
            parts: Vec::new(),
        };
        self.install(new, staged, VaultCommit::default()).await
    }

    /// The place of a put, if it may go there as things stand now.
    pub(crate) async fn admit(&self, target: &PutObject) -> Result<Place> {
        let bucket = self.buckets.lookup(&target.bucket).await?;
        if bucket.objects().is_err() && target.conditions.absent {
            let found = self.find(&super::find::Name::new(&target.bucket, &target.key)).await;
            target.conditions.check(found.ok().as_ref().map(|found| found.etag.as_str()))?;
        }
        bucket.objects()?;
        target.check()?;
        let place = self.place(&target.bucket, &target.key).await?;
        target.conditions.check(place.etag())?;
        Ok(place)
    }

    /// Makes a staged object visible, together with `commit`.
    pub(crate) async fn install(
        &self,
        new: NewObject,
        staged: Staged,
        mut commit: VaultCommit,
    ) -> Result<PutAnswer> {
        let NewObject { target, item, etag, modified_ms, checksums, parts } = new;
        let id = self.buckets.lookup(&target.bucket).await?.objects()?.id;
        let _lock = self.locks.lock(&key::row(id, &target.key)).await;
        let place = self.place(&target.bucket, &target.key).await?;
        target.conditions.check(place.etag())?;
        if place.bucket.value.objects()?.id != item.store.id {
            return Err(crate::bucket::no_such_bucket());
        }
        guard(&mut commit.commit, &place.bucket);
        match &place.current {
            Some(current) => {
                commit.commit.unchanged(place.row.clone(), current.version);
                commit.removes.push(current.value.removal());
            }
            None => {
                commit.commit.absent(place.row.clone());
            }
        }
        let length = staged.file().length;
        let object = Object {
            item,
            file: staged.file().clone(),
            etag: etag.clone(),
            modified_ms,
            attributes: target.attributes,
            checksums: checksums.clone(),
            parts,
            null: true,
        };
        commit.commit.put(place.row, encode(&object));
        commit.files.push(staged);
        if !self.core().commit(commit).await? {
            self.buckets.forget(&target.bucket);
            return Err(contended());
        }
        Ok(PutAnswer { etag, modified_ms, checksums, length })
    }
}

impl Place {
    /// ETag of what is there now.
    pub(crate) fn etag(&self) -> Option<&str> {
        self.current.as_ref().map(|current| current.value.etag.as_str())
    }

    fn replaces(&self) -> Vec<ItemId> {
        self.current.iter().map(|current| current.value.item.id).collect()
    }
}

/// What the bytes of the object `target`, put at `modified_ms`, are staged as.
pub(crate) fn spec(
    item: &Item,
    (target, modified_ms): (&PutObject, u64),
    place: &Place,
    told: Told,
) -> Result<FileSpec> {
    let named = Named::new(target, modified_ms);
    let metadata = told.metadata(named)?;
    let spec = FileSpec::new(item.clone(), FileRole::Object, metadata);
    Ok(spec.replacing(place.replaces()))
}
