//! What a reopened vault shows, and whether it may.

use std::collections::BTreeSet;

use readvault_store::{
    catalog::{Fold, Row, ScanRange, Table},
    vault::{MANIFESTS, ScrubOptions},
};

use crate::{
    home::{Home, OBJECTS, OpenVault},
    lane::{Client, Stored, Witness},
    oracle::Shown,
};

/// Rows of a page.
const PAGE: usize = 1000;

/// Opens the vault of `home` and demands that it shows what one that ended at tick `end` may show:
/// everything acknowledged byte for byte, everything else as a whole or not at all.
///
/// # Errors
/// A sentence about the first thing that is wrong.
pub async fn check(home: &Home, witness: &Witness, end: u64) -> Result<OpenVault, String> {
    let open = home.open().await.map_err(|error| format!("it does not open: {}", told(&error)))?;
    let shown = shown(&open).await?;
    witness.oracle.allows(&shown, end)?;
    Ok(open)
}

/// Demands that the vault takes and shows a new file, and that a scrub which opens everything finds no damage.
///
/// # Errors
/// A sentence about what failed.
pub async fn goes_on(open: &OpenVault) -> Result<(), String> {
    let witness = Witness::default();
    let bytes = bytes::Bytes::from(vec![5; 200_000]);
    let put = async {
        let client = Client::new("after", open).await?;
        client
            .at(open, &witness)
            .put("file", bytes, readvault_store::vault::SlotChoice::OfStore)
            .await
    };
    put.await.map_err(|error| format!("it takes nothing new: {}", told(&error)))?;
    let mut shown = shown(open).await?;
    shown.retain(|name, _| name.starts_with("after/"));
    witness.oracle.allows(&shown, witness.ticks.now())?;
    let options = ScrubOptions { bytes_a_second: None, open_percent: 100, resume: false };
    let scrub = open.vault.scrub(options, &|_| {}).await;
    let scrub = scrub.map_err(|error| format!("it can't be scrubbed: {}", told(&error)))?;
    if scrub.damaged > 0 {
        return Err(format!("a scrub finds damage: {:?}", scrub.places));
    }
    Ok(())
}

/// All files that the vault shows, read whole.
///
/// # Errors
/// A sentence about a file that can't be read, or a manifest that belongs to none.
pub async fn shown(open: &OpenVault) -> Result<Shown, String> {
    let mut shown = Shown::new();
    let mut manifests = BTreeSet::new();
    for row in rows(open, OBJECTS).await? {
        let name = String::from_utf8_lossy(&row.key).into_owned();
        let stored: Stored = serde_json::from_slice(&row.value)
            .map_err(|error| format!("the row of {name} makes no sense: {error}"))?;
        let bytes = stored.read(&open.vault).await;
        let bytes = bytes.map_err(|error| format!("{name} can't be read: {}", told(&error)))?;
        manifests.insert(stored.file.manifest.0.to_vec());
        shown.insert(name, bytes);
    }
    let kept: BTreeSet<_> =
        rows(open, MANIFESTS).await?.into_iter().map(|row| row.key.to_vec()).collect();
    if kept != manifests {
        let (kept, named) = (kept.len(), manifests.len());
        return Err(format!("{kept} manifests are kept and {named} are named"));
    }
    Ok(shown)
}

async fn rows(open: &OpenVault, table: Table) -> Result<Vec<Row>, String> {
    let range = ScanRange::prefix(table, "");
    let page = open.vault.catalog().scan(&range, &Fold::default(), PAGE).await;
    let page = page.map_err(|error| format!("{} can't be listed: {}", table.0, told(&error)))?;
    Ok(page.rows().collect())
}

/// An error with its kind and all its causes.
#[must_use]
pub fn told(error: &readvault_store::Error) -> String {
    let mut text = format!("{:?}: {error}", error.kind());
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
