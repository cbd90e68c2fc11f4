//! What uploads in flight rely on and no commit names yet: the roots of GC beside the catalog's.
//!
//! An upload notes a chunk here *before* it looks for the chunk's row, and lets go only when the outcome of
//! its commit is known. So a cycle that first copies these notes and then walks the committed manifests
//! misses nothing: what is noted later is chosen under the cycle's own epoch (`choose`).

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{chunk::ChunkId, ids::PackId};

/// As much of a chunk's name as marking needs: names are keyed hashes, so any half is as good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ChunkMark(pub(super) u64, pub(super) u64);

impl From<ChunkId> for ChunkMark {
    fn from(id: ChunkId) -> Self {
        let word = |at: usize| {
            u64::from_le_bytes(id.0[at..at + 8].try_into().expect("a name has 32 bytes"))
        };
        Self(word(0), word(8))
    }
}

/// The uploads of this process that have not ended.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    uploads: Mutex<Uploads>,
    appends: Mutex<Appends>,
    append_ended: Notify,
    /// Records of manifests that were appended once more.
    copies: AtomicU64,
}

#[derive(Debug, Default)]
struct Uploads {
    next: u64,
    open: HashMap<u64, Arc<Mutex<Noted>>>,
    /// Uploads whose commit was on its way when its caller went: it may still apply.
    left: HashMap<u64, Arc<Mutex<Noted>>>,
}

#[derive(Debug, Default)]
struct Noted {
    chunks: Vec<ChunkMark>,
    packs: BTreeSet<PackId>,
}

#[derive(Debug, Default)]
struct Appends {
    next: u64,
    open: BTreeSet<u64>,
}

/// Uploads that were left while their commit was on its way.
#[derive(Debug)]
pub(super) struct Left(Vec<u64>);

/// What one upload holds. Dropped, it holds nothing, unless its commit is on its way.
#[derive(Debug)]
pub(super) struct Hold {
    registry: Arc<InFlight>,
    key: u64,
    noted: Arc<Mutex<Noted>>,
    committing: AtomicBool,
}

/// An append whose records no row names yet.
#[derive(Debug)]
pub(super) struct Appending {
    registry: Arc<InFlight>,
    ticket: u64,
}

impl InFlight {
    /// Records of manifests were appended once more, and their rows will name them: said before that is
    /// committed.
    pub(super) fn copied(&self) {
        self.copies.fetch_add(1, Ordering::SeqCst);
    }

    /// How often that was said. Who makes a void durable and then ends its manifest has to void it again when this
    /// has grown: the copy may lie behind the void.
    pub(super) fn copies(&self) -> u64 {
        self.copies.load(Ordering::SeqCst)
    }

    /// A new upload that holds nothing yet.
    pub(super) fn hold(self: &Arc<Self>) -> Hold {
        let noted = Arc::new(Mutex::default());
        let mut uploads = self.uploads.lock();
        let key = uploads.next;
        uploads.next += 1;
        uploads.open.insert(key, Arc::clone(&noted));
        Hold { registry: Arc::clone(self), key, noted, committing: AtomicBool::new(false) }
    }

    /// An append begins; keep the guard until the rows of what was appended are committed, or its pack is
    /// held.
    pub(super) fn appending(self: &Arc<Self>) -> Appending {
        let mut appends = self.appends.lock();
        let ticket = appends.next;
        appends.next += 1;
        appends.open.insert(ticket);
        Appending { registry: Arc::clone(self), ticket }
    }

    /// Waits until every append that began before this call has ended.
    pub(super) async fn appends_ended(&self) {
        let before = self.appends.lock().next;
        loop {
            let ended = self.append_ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.appends.lock().open.first().is_none_or(|oldest| *oldest >= before) {
                return;
            }
            ended.await;
        }
    }

    /// Uploads that were left so far; a commit that is applied after this call shows that theirs are
    /// settled, too, as commits are taken in order.
    pub(super) fn left(&self) -> Left {
        Left(self.uploads.lock().left.keys().copied().collect())
    }

    /// Lets go of uploads whose commits are settled.
    pub(super) fn release(&self, left: Left) {
        let mut uploads = self.uploads.lock();
        for key in left.0 {
            uploads.left.remove(&key);
        }
    }

    /// Gives every chunk that is held now to `mark`.
    pub(super) fn each_chunk(&self, mut mark: impl FnMut(ChunkMark)) {
        for noted in self.noted() {
            noted.lock().chunks.iter().copied().for_each(&mut mark);
        }
    }

    /// The packs that hold manifests which are not committed yet.
    pub(super) fn packs(&self) -> BTreeSet<PackId> {
        self.noted().iter().flat_map(|noted| noted.lock().packs.clone()).collect()
    }

    /// How many uploads are in flight.
    pub(super) fn count(&self) -> usize {
        self.uploads.lock().open.len()
    }

    fn noted(&self) -> Vec<Arc<Mutex<Noted>>> {
        let uploads = self.uploads.lock();
        uploads.open.values().chain(uploads.left.values()).cloned().collect()
    }
}

impl Hold {
    /// Holds a chunk; to be called before its row is looked for.
    pub(super) fn chunk(&self, id: ChunkId) {
        self.noted.lock().chunks.push(id.into());
    }

    /// Holds a pack, in which a manifest of this upload lies.
    pub(super) fn pack(&self, pack: PackId) {
        self.noted.lock().packs.insert(pack);
    }

    /// The commit of this upload is on its way: until [`Hold::settled`], a drop keeps what is held.
    pub(super) fn committing(&self) {
        self.committing.store(true, Ordering::SeqCst);
    }

    /// The outcome of the commit is known.
    pub(super) fn settled(&self) {
        self.committing.store(false, Ordering::SeqCst);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut uploads = self.registry.uploads.lock();
        if let Some(noted) = uploads.open.remove(&self.key)
            && self.committing.load(Ordering::SeqCst)
        {
            uploads.left.insert(self.key, noted);
        }
    }
}

impl Drop for Appending {
    fn drop(&mut self) {
        self.registry.appends.lock().open.remove(&self.ticket);
        self.registry.append_ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(registry: &InFlight) -> usize {
        let mut count = 0;
        registry.each_chunk(|_| count += 1);
        count
    }

    #[test]
    fn a_dropped_upload_holds_nothing_unless_its_commit_is_on_its_way() {
        let registry = Arc::new(InFlight::default());
        let hold = registry.hold();
        hold.chunk(ChunkId([1; 32]));
        assert_eq!(held(&registry), 1);
        drop(hold);
        assert_eq!(held(&registry), 0);
        let hold = registry.hold();
        hold.chunk(ChunkId([2; 32]));
        hold.pack(PackId([3; 16]));
        hold.committing();
        drop(hold);
        assert_eq!((held(&registry), registry.packs().len(), registry.count()), (1, 1, 0));
        let left = registry.left();
        registry.release(left);
        assert_eq!((held(&registry), registry.packs().len()), (0, 0));
    }

    #[test]
    fn a_commit_whose_outcome_is_known_is_let_go_of() {
        let registry = Arc::new(InFlight::default());
        let hold = registry.hold();
        hold.chunk(ChunkId([1; 32]));
        hold.committing();
        hold.settled();
        drop(hold);
        assert_eq!(held(&registry), 0);
    }

    #[tokio::test]
    async fn only_earlier_appends_are_waited_for() {
        let registry = Arc::new(InFlight::default());
        let first = registry.appending();
        let waiting = tokio::spawn({
            let registry = Arc::clone(&registry);
            async move { registry.appends_ended().await }
        });
        tokio::task::yield_now().await;
        let _later = registry.appending();
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap();
    }
}
