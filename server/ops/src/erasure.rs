//! Erasure: destroys what opens a read set or reference, wherever copies of it are, and keeps a signed
//! receipt. Deletion, which only removes rows, is `read_set::delete`.
//!
//! Intent noted → slot destroyed → rows removed → receipt signed. [`Erasures::resume`] finishes at a start
//! what was cut short behind the intent; before it nothing has changed.

mod target;
mod used;

use std::sync::Arc;

use readvault_store::{
    receipts::{Entry, Receipt, Receipts, Shared, SharingItem, Signed, State},
    vault::{ItemKind, Sharing},
};

use self::target::Found;
pub use self::target::Target;
use crate::{
    Fault, FaultKind,
    authorize::Permit,
    core::{Core, rfc3339},
    fault::Result,
};

/// Version of what a receipt says.
const FORMAT: u32 = 1;

/// Most bytes of a reason.
pub const REASON_BYTES_MAX: usize = 1024;

/// What an erasure does not reach: part of every receipt.
const EXCLUDES: [&str; 4] = [
    "names, samples, subjects, tags and counts in backups of the catalog until those expire, in its own \
     files until it rewrites them, and in records of imports and runs",
    "chunks that other items share, as long as one of them stands: they are listed under `shared`",
    "copies that reads, exports and runs made before, in this vault and elsewhere",
    "remains of the old slot on file systems that copy on write and on worn-out flash blocks",
];

/// Hears how many files of the vault were looked through.
pub type Told<'a> = &'a (dyn Fn(u64) + Send + Sync);

/// Erases items and keeps their receipts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Erasures {
    core: Core,
    receipts: Arc<Receipts>,
    /// Held while one is carried out: a start and an administrator may want the same.
    at_work: Arc<tokio::sync::Mutex<()>>,
}

impl Erasures {
    /// Erasures in the vault of `core`, with their receipts in `receipts`.
    #[must_use]
    pub fn new(core: Core, receipts: Arc<Receipts>) -> Self {
        Self { core, receipts, at_work: Arc::default() }
    }

    /// The receipts.
    #[must_use]
    pub fn receipts(&self) -> &Arc<Receipts> {
        &self.receipts
    }

    /// What erasing `target` would destroy, as an unsigned receipt. Changes nothing.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when something uses it; those of the vault.
    pub async fn plan(
        &self,
        _permit: &Permit,
        target: &Target,
        (reason, by): (&str, &str),
        told: Told<'_>,
    ) -> Result<Receipt> {
        if reason.is_empty() || reason.len() > REASON_BYTES_MAX {
            return Err(Fault::invalid(format!("a reason has 1 to {REASON_BYTES_MAX} bytes")));
        }
        let found = self.find(target).await?;
        used::refuse_if_used(&self.core, &found).await?;
        let sharing = self.core.vault().sharing(&found.files, told).await?;
        Ok(Receipt {
            by: by.to_owned(),
            excludes: EXCLUDES.map(String::from).to_vec(),
            file_bytes: found.files.iter().map(|file| file.length).sum(),
            format: FORMAT,
            item: found.item.id,
            kind: kind_name(found.item.kind as u8).into(),
            manifests: found.files.iter().map(|file| file.manifest).collect(),
            number: 0,
            reason: reason.to_owned(),
            resource: target.resource(),
            shared: shared(sharing),
            slot: found.item.slot,
            store: found.item.store.id,
            time_begun: rfc3339(self.core.now_ms()),
            time_done: String::new(),
            vault: self.core.vault().keys().vault(),
        })
    }

    /// Erases what `planned`, a fresh result of [`Erasures::plan`], names. Once its intent is noted the
    /// erasure goes on though the future is dropped; cut short by a stop or a fault, it is finished by
    /// [`Erasures::resume`]. Durable in every part when it returns.
    ///
    /// # Errors
    /// `Conflict` when something began to use it meanwhile; those of the vault.
    pub async fn erase(&self, _permit: &Permit, planned: Receipt) -> Result<Signed> {
        let target = Target::parse(&planned.resource)?;
        let _at_work = self.at_work.lock().await;
        let found = self.find(&target).await?;
        if found.item.id != planned.item {
            return Err(Fault::new(FaultKind::Conflict, "the item was replaced meanwhile"));
        }
        used::refuse_if_used(&self.core, &found).await?;
        let this = self.clone();
        let carried_out = tokio::spawn(async move {
            let receipts = this.receipts.clone();
            let intended = planned.clone();
            let number = blocking(move || receipts.intend(&intended)).await?;
            this.carry_out(Receipt { number, ..planned }).await
        });
        carried_out.await.map_err(|cause| Fault::internal("an erasure ended").because(cause))?
    }

    /// Finishes every erasure that was decided on and not done, and erases again what an older catalog
    /// brought back; gives their count. A start calls it before it serves.
    ///
    /// # Errors
    /// Those of the vault; call it again.
    pub async fn resume(&self) -> Result<usize> {
        let _at_work = self.at_work.lock().await;
        let mut count = 0;
        for Entry { state, receipt, .. } in self.entries().await? {
            match state {
                State::Intended => {
                    self.carry_out(receipt).await?;
                }
                State::Done if self.is_back(&receipt).await? => {
                    let target = Target::parse(&receipt.resource)?;
                    self.destroy(&target, &receipt).await?;
                }
                State::Done => continue,
            }
            count += 1;
        }
        Ok(count)
    }

    /// All receipts and intents, by number.
    ///
    /// # Errors
    /// Those of the files.
    pub async fn entries(&self) -> Result<Vec<Entry>> {
        let receipts = self.receipts.clone();
        blocking(move || receipts.all()).await
    }

    /// The item of `target`.
    async fn find(&self, target: &Target) -> Result<Found> {
        match target.find(&self.core).await {
            Err(fault) if fault.kind == FaultKind::NotFound => {
                let resource = target.resource();
                let erased = self.entries().await?;
                let erased = erased.iter().find(|entry| entry.receipt.resource == resource);
                Err(match erased {
                    Some(entry) => {
                        let number = entry.number;
                        Fault::not_found(format!("it was erased: see receipt {number}"))
                    }
                    None => fault,
                })
            }
            found => found,
        }
    }

    /// Destroys, removes, signs: each step may run again.
    async fn carry_out(&self, mut receipt: Receipt) -> Result<Signed> {
        let target = Target::parse(&receipt.resource)?;
        self.destroy(&target, &receipt).await?;
        receipt.time_done = rfc3339(self.core.now_ms());
        let receipts = self.receipts.clone();
        blocking(move || receipts.finish(&receipt)).await
    }

    async fn destroy(&self, target: &Target, receipt: &Receipt) -> Result<()> {
        target.close(&self.core, receipt.item).await?;
        self.core.vault().erase(receipt.slot, &receipt.manifests).await?;
        target.remove(&self.core, receipt.item).await
    }

    /// Whether the catalog has an erased item again, as one does that was restored from an older copy.
    async fn is_back(&self, receipt: &Receipt) -> Result<bool> {
        match Target::parse(&receipt.resource)?.find(&self.core).await {
            Ok(found) => Ok(found.item.id == receipt.item),
            Err(fault) if fault.kind == FaultKind::NotFound => Ok(false),
            Err(fault) => Err(fault),
        }
    }
}

fn shared(sharing: Sharing) -> Shared {
    let Sharing { sharers, more, unread, left_out } = sharing;
    let items = sharers.into_iter().map(|sharer| SharingItem {
        item: sharer.item,
        kind: kind_name(sharer.kind).into(),
        store: sharer.store,
    });
    Shared { chunks_left_out: left_out, items: items.collect(), more, unread }
}

/// The word for an item of this kind.
fn kind_name(kind: u8) -> &'static str {
    const KINDS: [(ItemKind, &str); 5] = [
        (ItemKind::ReadSet, "read set"),
        (ItemKind::Reference, "reference"),
        (ItemKind::Object, "object"),
        (ItemKind::Upload, "upload"),
        (ItemKind::Document, "document"),
    ];
    KINDS.iter().find(|(known, _)| *known as u8 == kind).map_or("unknown", |(_, name)| name)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> readvault_store::Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|cause| Fault::internal("files of receipts").because(cause))??)
}

#[cfg(test)]
mod tests;
