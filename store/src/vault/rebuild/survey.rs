//! What the packs say of themselves: their order, what was acknowledged, what is missing.

use super::{Progress, Told};
use crate::{
    Result,
    chunk_store::{ChunkStore, LocalChunkStore},
    ids::PackId,
    pack::{Bridge, Chains, Gap, PackSpan, PlacedBatch, in_order},
};

/// All packs, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Survey {
    /// The packs that hold a batch, in the order in which they were written.
    pub packs: Vec<PackId>,
    /// The highest commit that they call acknowledged.
    pub acknowledged: u64,
    /// Batches that are missing: packs that were lost, or damage.
    pub gaps: Vec<Gap>,
    /// Stretches of packs that can't be read.
    pub damaged: u64,
    /// What leads over packs that were compacted away.
    pub bridges: Vec<Bridge>,
}

/// Reads the indexes of all packs, pack by pack.
///
/// # Errors
/// `Unavailable`. Damage is told in the result.
pub async fn survey(chunks: &LocalChunkStore, told: Told<'_>) -> Result<Survey> {
    let mut spans = Vec::new();
    let mut survey = Survey::default();
    let packs = chunks.packs()?;
    let mut progress = Progress { packs_all: packs.len() as u64, ..Progress::default() };
    for pack in packs {
        let contents = chunks.summary(pack).await?;
        let acknowledged = contents.batches.iter().map(|batch| batch.index.acknowledged).max();
        survey.acknowledged = survey.acknowledged.max(acknowledged.unwrap_or(0));
        survey.damaged += contents.damaged.len() as u64;
        survey
            .bridges
            .extend(contents.batches.iter().flat_map(|batch| batch.index.bridges.clone()));
        spans.extend(PackSpan::of(&contents));
        progress.packs += 1;
        told(progress);
    }
    survey.packs = in_order(spans).iter().map(|span| span.pack).collect();
    let mut chains = Chains::over(&survey.bridges);
    for pack in &survey.packs {
        for batch in chunks.summary(*pack).await?.batches {
            survey.gaps.extend(chains.push(PlacedBatch { pack: *pack, batch }).gap);
        }
    }
    Ok(survey)
}
