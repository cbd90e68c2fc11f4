//! What administrators work with, and the socket at which they ask.

use std::time::Duration;

use anyhow::{Context, Result};
use readvault_ops::erasure::Erasures;

use super::{Checkpoints, Ground, open::Open};
use crate::{
    admin::{Desk, Door},
    settings::Serve,
};

/// Finishes the erasures of earlier starts, then listens for administrators. `began` is when this start
/// did.
///
/// # Errors
/// When an erasure can't be finished, or the socket can't be made.
pub(super) async fn open(
    settings: &Serve,
    (ground, checkpoints): (&Ground, &Checkpoints),
    open: &Open,
    began: Duration,
) -> Result<Door> {
    let erasures = Erasures::new(ground.core.clone(), open.receipts.clone());
    match erasures.resume().await.context("an erasure that was cut short can't be finished")? {
        0 => {}
        count => tracing::info!(count, "erasures of an earlier start were finished"),
    }
    let desk = Desk {
        core: ground.core.clone(),
        master_keys: open.master_keys.clone(),
        erasures,
        checkpoints: checkpoints.clone(),
        data: settings.data.clone(),
        began,
    };
    Door::open(desk, ground.authorizer.clone())
        .context("admin.sock can't be made in the data directory")
}
