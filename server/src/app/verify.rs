//! Reading a rebuilt vault back: what opens, what was erased, what is wrong.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use readvault_ambient::System;
use readvault_store::{
    ErrorKind,
    ids::ManifestId,
    vault::rebuild::{Rebuild, RebuildParams},
};
use readvault_store_rocks::RocksCatalog;

use super::{
    pieces::{Pieces, all_tables},
    restore::Depth,
};

/// Files that are read at once.
const READ_AT_ONCE: usize = 8;

/// Reads every visible file, as deep as `depth` says.
///
/// # Errors
/// When a file can't be read; the count of erased ones is told and is no error.
pub(super) async fn verify(pieces: &Pieces, depth: Depth) -> Result<()> {
    if depth == Depth::None {
        return Ok(());
    }
    let entropy = Arc::new(System);
    let catalog =
        RocksCatalog::open(&pieces.catalog(), &all_tables(), pieces.sealer(), entropy.clone())
            .context("the catalog can't be opened")?;
    let (chunks, keys) = (pieces.chunks.clone(), pieces.keys.clone());
    let params = RebuildParams { catalog: Arc::new(catalog), chunks, keys };
    let rebuild = Rebuild::new(&params, entropy, Arc::new(System)).await?;
    let (mut sound, mut bytes, mut erased, mut wrong) = (0_u64, 0_u64, 0_u64, 0_u64);
    let mut after = None;
    loop {
        let page = rebuild.visible(after).await?;
        let Some(last) = page.last() else { break };
        after = Some(*last);
        let reads = page.into_iter().map(|id| read(&rebuild, id, depth));
        let mut reads = stream::iter(reads).buffer_unordered(READ_AT_ONCE);
        while let Some((id, read)) = reads.next().await {
            match read {
                Ok(length) => (sound, bytes) = (sound + 1, bytes + length),
                Err(cause) if cause.kind() == ErrorKind::KeyUnavailable => erased += 1,
                Err(cause) => {
                    wrong += 1;
                    eprintln!("manifest {id}: {cause}");
                }
            }
        }
    }
    println!("{sound} files ({bytes} bytes) read back, {erased} erased, {wrong} wrong");
    if wrong > 0 {
        bail!("{wrong} files can't be read");
    }
    Ok(())
}

/// Reads one file; gives how many bytes were read.
async fn read(
    rebuild: &Rebuild,
    id: ManifestId,
    depth: Depth,
) -> (ManifestId, readvault_store::Result<u64>) {
    let reading = async {
        let file = rebuild.open(id).await?.file;
        let reader = rebuild.vault().open_file(&file).await?;
        let length = file.length;
        let ranges = match depth {
            Depth::Full => [0..length, length..length],
            Depth::Sample | Depth::None => [0..1.min(length), length.saturating_sub(1)..length],
        };
        let mut read = 0;
        for range in ranges {
            let mut pieces = reader.stream(range);
            while let Some(piece) = pieces.try_next().await? {
                read += piece.len() as u64;
            }
        }
        Ok(read)
    };
    (id, reading.await)
}
