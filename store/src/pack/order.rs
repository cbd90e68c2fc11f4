//! The one order of all batches of a vault (`docs/format.md` §5.5): what a start and a rebuild go by.

use std::collections::HashMap;

use super::{Bridge, PackContents, ReadBatch};
use crate::ids::{PackId, WriterId};

/// Where in the order a pack stands: its writer, and its batches among that writer's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PackSpan {
    /// The pack.
    pub pack: PackId,
    /// Who wrote it, as its indexes say.
    pub writer: WriterId,
    /// Number of its first batch among its writer's.
    pub first: u64,
    /// What was acknowledged when that was written.
    pub acknowledged: u64,
}

impl PackSpan {
    /// The span of a pack; none of one that holds no batch.
    #[must_use]
    pub fn of(contents: &PackContents) -> Option<Self> {
        let index = &contents.batches.first()?.index;
        let (writer, first, acknowledged) = (index.writer, index.sequence, index.acknowledged);
        Some(Self { pack: contents.header.pack, writer, first, acknowledged })
    }
}

/// Puts packs into the order in which they were written. One process at a time writes, and each start
/// acknowledges a commit of its own before it appends: so writers follow each other as what they had
/// acknowledged first, and the packs of one by the numbers of their batches.
#[must_use]
pub fn in_order(mut spans: Vec<PackSpan>) -> Vec<PackSpan> {
    let mut began: HashMap<WriterId, u64> = HashMap::new();
    for span in &spans {
        let first = began.entry(span.writer).or_insert(span.acknowledged);
        *first = (*first).min(span.acknowledged);
    }
    spans.sort_by_key(|span| (began[&span.writer], span.writer, span.first, span.pack));
    spans
}

/// A batch and the pack that holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlacedBatch {
    /// The pack.
    pub pack: PackId,
    /// The batch.
    pub batch: ReadBatch,
}

/// Batches of a writer that are missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    /// The writer.
    pub writer: WriterId,
    /// Number of the last batch before the gap; 0 when its first batches are missing.
    pub after: u64,
    /// Number of the first batch behind it.
    pub before: u64,
}

/// What became of a batch that was pushed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Followed {
    /// The batch before it, when it stands.
    pub stands: Option<PlacedBatch>,
    /// Whether batches are missing between the two.
    pub gap: Option<Gap>,
}

/// Follows the chains of all writers, batch by batch in order, and drops what was given up: a batch
/// that failed and whose writer went on from the one before it. Holds one batch, and the bridges.
#[derive(Debug, Default)]
pub struct Chains {
    held: Option<PlacedBatch>,
    /// For the last batch of each pack that went, the one before its first. Not the other way round: what is
    /// before the first batch is the same for every writer.
    bridges: HashMap<[u8; 32], [u8; 32]>,
}

impl Chains {
    /// Chains that go on over packs which were compacted away.
    #[must_use]
    pub fn over(bridges: &[Bridge]) -> Self {
        let bridges = bridges.iter().map(|bridge| (bridge.last, bridge.previous));
        Self { held: None, bridges: bridges.collect() }
    }

    /// Whether `hash` is the next one behind `from`, but for packs that were compacted away.
    fn leads(&self, from: [u8; 32], mut hash: [u8; 32]) -> bool {
        for _ in 0..=self.bridges.len() {
            if from == hash {
                return true;
            }
            match self.bridges.get(&hash) {
                Some(previous) => hash = *previous,
                None => return false,
            }
        }
        false
    }

    /// Takes the next batch in; gives the one before it.
    pub fn push(&mut self, next: PlacedBatch) -> Followed {
        let held = self.held.take();
        let index = &next.batch.index;
        let before = held.as_ref().filter(|held| held.batch.index.writer == index.writer);
        let hash = before.map_or([0; 32], |held| held.batch.hash);
        // Also when the batch that its writer went on with has been compacted away.
        let given_up = before.is_some_and(|held| {
            self.leads(held.batch.index.previous, index.previous)
                && !self.leads(hash, index.previous)
        });
        let gap = (!given_up && !self.leads(hash, index.previous)).then(|| Gap {
            writer: index.writer,
            after: before.map_or(0, |held| held.batch.index.sequence),
            before: index.sequence,
        });
        self.held = Some(next);
        Followed { stands: held.filter(|_| !given_up), gap }
    }

    /// The last batch.
    #[must_use]
    pub fn finish(self) -> Option<PlacedBatch> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::BatchIndex;

    fn batch(writer: u8, sequence: u64, hashes: (u8, u8)) -> PlacedBatch {
        let index = BatchIndex {
            writer: WriterId([writer; 16]),
            sequence,
            acknowledged: 0,
            previous: [hashes.0; 32],
            start: 41,
            records: Vec::new(),
            tombstones: Vec::new(),
            voids: Vec::new(),
            bridges: Vec::new(),
        };
        let batch = ReadBatch { number: 0, index, hash: [hashes.1; 32] };
        PlacedBatch { pack: PackId([1; 16]), batch }
    }

    fn follow(batches: &[PlacedBatch]) -> (Vec<u8>, Vec<Gap>) {
        let mut chains = Chains::default();
        let (mut stands, mut gaps) = (Vec::new(), Vec::new());
        for next in batches {
            let followed = chains.push(next.clone());
            stands.extend(followed.stands);
            gaps.extend(followed.gap);
        }
        stands.extend(chains.finish());
        (stands.iter().map(|placed| placed.batch.hash[0]).collect(), gaps)
    }

    #[test]
    fn writers_follow_each_other_by_what_they_had_acknowledged() {
        let span = |pack: u8, writer: u8, first, acknowledged| PackSpan {
            pack: PackId([pack; 16]),
            writer: WriterId([writer; 16]),
            first,
            acknowledged,
        };
        let spans = vec![span(1, 9, 5, 30), span(2, 3, 1, 40), span(3, 9, 1, 20), span(4, 5, 1, 7)];
        let packs: Vec<_> = in_order(spans).iter().map(|span| span.pack.0[0]).collect();
        assert_eq!(packs, [4, 3, 1, 2]);
    }

    #[test]
    fn a_batch_that_its_writer_gave_up_does_not_stand() {
        let batches = [
            batch(1, 1, (0, 10)),
            batch(1, 2, (10, 11)),
            batch(1, 3, (10, 12)),
            batch(1, 5, (12, 13)),
            batch(2, 2, (0, 20)),
        ];
        assert_eq!(follow(&batches), (vec![10, 12, 13, 20], vec![]));
    }

    #[test]
    fn a_batch_stays_given_up_when_the_pack_behind_it_goes() {
        // 11 failed; 12 to 13 were in a pack that went.
        let over = Bridge { pack: PackId([7; 16]), previous: [10; 32], last: [13; 32] };
        let mut chains = Chains::over(&[over]);
        let batches = [batch(1, 1, (0, 10)), batch(1, 2, (10, 11)), batch(1, 5, (13, 14))];
        let followed = batches.map(|next| chains.push(next));
        let stood = followed.iter().filter_map(|followed| followed.stands.as_ref());
        assert_eq!(stood.map(|placed| placed.batch.hash[0]).collect::<Vec<_>>(), [10]);
        assert!(followed.iter().all(|followed| followed.gap.is_none()), "{followed:?}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let writer = WriterId([1; 16]);
        let start = follow(&[batch(1, 3, (9, 13))]);
        assert_eq!(start, (vec![13], vec![Gap { writer, after: 0, before: 3 }]));
        let middle = follow(&[batch(1, 1, (0, 10)), batch(1, 4, (12, 14))]);
        assert_eq!(middle, (vec![10, 14], vec![Gap { writer, after: 1, before: 4 }]));
        let bridge = |previous: u8, last: u8| Bridge {
            pack: PackId([7; 16]),
            previous: [previous; 32],
            last: [last; 32],
        };
        let mut bridged = Chains::over(&[bridge(11, 12), bridge(10, 11)]);
        assert_eq!(bridged.push(batch(1, 1, (0, 10))), Followed::default());
        assert_eq!(bridged.push(batch(1, 4, (12, 14))).gap, None);
        let mut both_first_gone = Chains::over(&[bridge(0, 10), bridge(0, 20)]);
        assert_eq!(both_first_gone.push(batch(1, 2, (10, 11))).gap, None);
        assert_eq!(both_first_gone.push(batch(2, 2, (20, 21))).gap, None);
        let forged = follow(&[batch(1, 1, (0, 10)), batch(1, 2, (11, 12))]);
        assert_eq!(forged.1, [Gap { writer, after: 1, before: 2 }]);
    }
}
