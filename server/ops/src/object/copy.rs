//! CopyObject.

use std::ops::Range;

use futures::StreamExt as _;
use readvault_store::vault::{BodyError, FileSpec, ItemKind, SlotChoice, Staged, VaultCommit};

use super::{
    Attributes, Checksums, Found, Objects, PUT_BYTES_MAX,
    condition::ReadConditions,
    etag,
    find::Name,
    named::Told,
    put::{NewObject, PutAnswer, PutObject, spec},
};
use crate::{
    Fault, FaultKind,
    authorize::Permit,
    body::{Algorithm, Body, Checking, Declared, Digests, Noted, checking::Md5Wish},
    fault::Result,
};

/// Whether something of the copy comes from the source or from the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Directive {
    /// From the source.
    #[default]
    Copy,
    /// From the request.
    Replace,
}

/// A copy that shall be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyObject {
    /// Where it is put; headers, metadata and tags count only where they are replaced.
    pub target: PutObject,
    /// Conditions of the source.
    pub conditions: ReadConditions,
    /// Where headers and metadata come from.
    pub metadata: Directive,
    /// Where tags come from.
    pub tags: Directive,
    /// A checksum that the copy shall have.
    pub algorithm: Option<Algorithm>,
}

impl Objects {
    /// Copies an object or a file of a read set. Within one domain of deduplication no data moves.
    /// Promises as [`Objects::put`].
    ///
    /// # Errors
    /// Those of reading the source and of [`Objects::put`]; `InvalidArgument` for a copy onto
    /// itself that changes nothing; `EntityTooLarge` above 5 GiB.
    pub async fn copy(
        &self,
        permit: &Permit,
        source: &Name<'_>,
        copy: CopyObject,
    ) -> Result<PutAnswer> {
        let _ = permit;
        let mut target = copy.target;
        let place = self.admit(&target).await?;
        let itself = source.bucket == target.bucket && source.key == target.key;
        if itself && copy.metadata == Directive::Copy {
            let message = "a copy of an object onto itself must replace its metadata";
            return Err(Fault::invalid(message));
        }
        let found = self.find(source).await?;
        copy.conditions.check_source(&found.etag, found.modified_ms)?;
        found.readable()?;
        if found.file.length > PUT_BYTES_MAX {
            let message = "one request copies at most 5 GiB: copy the object in parts";
            return Err(Fault::new(FaultKind::EntityTooLarge, message));
        }
        let from = &found.attributes;
        target.attributes = Attributes {
            headers: match copy.metadata {
                Directive::Copy => from.headers.clone(),
                Directive::Replace => target.attributes.headers,
            },
            metadata: match copy.metadata {
                Directive::Copy => from.metadata.clone(),
                Directive::Replace => target.attributes.metadata,
            },
            tags: match copy.tags {
                Directive::Copy => from.tags.clone(),
                Directive::Replace => target.attributes.tags,
            },
        };
        target.check()?;
        let vault = self.core().vault();
        let store = place.bucket.value.objects()?;
        let item = vault.new_item(store, ItemKind::Object, SlotChoice::OfStore).await?;
        let modified_ms = self.core().now_ms();
        let known = known_checksums(&found.checksums, copy.algorithm);
        let (drawn, noted) = (etag::draw(self.core().entropy()), Noted::default());
        let (known_too, noted_too) = (known.clone(), noted.clone());
        let told = Told::AtTheEnd { drawn: drawn.clone(), known: known_too, noted: noted_too };
        let spec = spec(&item, (&target, modified_ms), &place, told)?;
        let bring = Bring {
            range: 0..found.file.length,
            md5: self.settings().etag.wish_of_object(found.file.length),
            compute: if known.is_some() { None } else { copy.algorithm },
            noted,
        };
        let (staged, digests) = self.bring(permit, spec, &found, bring).await?;
        let whole = known.unwrap_or_else(|| digests.checksums.clone());
        let new = NewObject {
            target,
            item,
            etag: etag::of(&digests, drawn),
            modified_ms,
            checksums: Checksums { whole, composite: None },
            parts: Vec::new(),
        };
        self.install(new, staged, VaultCommit::default()).await
    }

    /// Stages bytes of another file under `spec`: without moving data where the vault allows it and
    /// no digest is wanted, else by reading them.
    pub(crate) async fn bring(
        &self,
        permit: &Permit,
        spec: FileSpec,
        source: &Found,
        bring: Bring,
    ) -> Result<(Staged, Digests)> {
        let vault = self.core().vault();
        let whole = bring.range == (0..source.file.length);
        let wanted = bring.compute.is_some() || bring.md5 == Md5Wish::Wanted;
        if whole
            && !wanted
            && let Some(staged) = vault.adopt(spec.clone(), &source.file).await?
        {
            return Ok((staged, Digests::default()));
        }
        let reader = vault.open_file(&source.file).await?;
        let stream = super::get::Live::new(permit.clone(), reader.stream(bring.range.clone()));
        let body = Body {
            stream: Box::pin(stream.map(|item| item.map_err(BodyError::from))),
            length: bring.range.end - bring.range.start,
            declared: Declared {
                compute: bring.compute.into_iter().collect(),
                ..Declared::default()
            },
        };
        let mut checking = Checking::new(body, bring.md5).noting(bring.noted);
        let staged = self.core().stage(spec, &mut checking).await?;
        Ok((staged, checking.into_digests()))
    }
}

/// Which bytes are brought over, and what is computed of them.
pub(crate) struct Bring {
    pub(crate) range: Range<u64>,
    pub(crate) md5: Md5Wish,
    pub(crate) compute: Option<Algorithm>,
    pub(crate) noted: Noted,
}

/// The checksums that a copy inherits; none when one must be computed.
fn known_checksums(
    source: &Checksums,
    wanted: Option<Algorithm>,
) -> Option<Vec<crate::body::Checksum>> {
    let Some(algorithm) = wanted else { return Some(source.whole.clone()) };
    let known = source.whole.iter().find(|checksum| checksum.algorithm() == algorithm);
    known.map(|checksum| vec![checksum.clone()])
}
