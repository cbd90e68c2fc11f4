//! CreateBucket.

use readvault_store::vault::{DomainChoice, VaultCommit};

use super::{Bucket, BucketKind, Buckets, name, row};
use crate::{
    Fault, FaultKind,
    authorize::Permit,
    core::{Stored, encode},
    fault::Result,
    kept::{self, Owner},
    sequence_store::{self, SequenceStore},
};

/// A bucket that shall be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewBucket {
    /// Its name.
    pub name: String,
    /// Its tags.
    pub tags: Vec<(String, String)>,
    /// Id of the sequence store that it shall be a drop bucket of: they share a domain of
    /// deduplication, so an import from the bucket moves no data.
    pub drop_of: Option<String>,
}

impl Buckets {
    /// Makes a bucket. Durable when it returns.
    ///
    /// # Errors
    /// `InvalidBucketName`, `InvalidTag`; `BucketAlreadyOwnedByYou`; `NotFound` for an unknown
    /// sequence store; those of the vault.
    pub async fn create(&self, permit: &Permit, new: NewBucket) -> Result<()> {
        let _ = permit;
        name::check(&new.name)?;
        crate::object::tags::check(&new.tags, crate::object::tags::BUCKET_TAGS_MAX)?;
        let owned = || {
            let message = "you own a bucket of this name already";
            Fault::new(FaultKind::BucketAlreadyOwnedByYou, message)
        };
        let row = row(&new.name);
        if self.core.load::<Bucket>(&row).await?.is_some() {
            return Err(owned());
        }
        let domain = match &new.drop_of {
            Some(id) => DomainChoice::Shared(self.sequence_store(id).await?.value.store.domain),
            None => DomainChoice::Own,
        };
        let store = self.core.vault().create_store(&self.core.site().account, domain).await?;
        let kind = BucketKind::Objects { store: store.clone(), drop_of: new.drop_of };
        let bucket = Bucket {
            name: new.name,
            kind,
            created_ms: self.core.now_ms(),
            tags: new.tags,
            closing: false,
        };
        let mut commit = VaultCommit::default();
        commit.commit.absent(row.clone()).put(row.clone(), encode(&bucket));
        kept::keep(&self.core, &mut commit, Owner::store(&store), (&[row], &[])).await?;
        let applied = self.core.commit(commit).await?;
        self.forget(&bucket.name);
        if applied { Ok(()) } else { Err(owned()) }
    }

    async fn sequence_store(&self, id: &str) -> Result<Stored<SequenceStore>> {
        let store = self.core.load(&sequence_store::row(id)).await?;
        store.ok_or_else(|| Fault::not_found("the sequence store does not exist"))
    }
}
