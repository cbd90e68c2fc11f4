//! Room for tasks inside a run's allocation: cores and memory, first come, first served.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::fault::{FailureReason, Fault};

/// Thousandths of a core are what is counted.
const MILLI: f64 = 1000.0;

/// Memory is counted in these many bytes.
const BLOCK: u64 = 1 << 20;

/// The room of a run.
#[derive(Debug)]
pub(super) struct Admission {
    milli_cpus: u32,
    blocks: u32,
    cpus_left: Arc<Semaphore>,
    memory_left: Arc<Semaphore>,
    turn: tokio::sync::Mutex<()>,
}

/// Room that one task holds until this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    _cpus: OwnedSemaphorePermit,
    _memory: OwnedSemaphorePermit,
}

impl Admission {
    /// All the room of an allocation.
    pub(super) fn new(cpus: u32, memory_bytes: u64) -> Self {
        let milli_cpus = cpus.saturating_mul(1000);
        let blocks = u32::try_from(memory_bytes / BLOCK).unwrap_or(u32::MAX);
        Self {
            milli_cpus,
            blocks,
            cpus_left: Arc::new(Semaphore::new(milli_cpus as usize)),
            memory_left: Arc::new(Semaphore::new(blocks as usize)),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// Waits for room. Dropping the future gives up the place.
    ///
    /// # Errors
    /// At once when the whole allocation is too small.
    pub(super) async fn room(&self, cpus: f64, memory_bytes: u64) -> Result<Room, Fault> {
        let milli = (cpus * MILLI).ceil() as u32;
        let blocks = u32::try_from(memory_bytes.div_ceil(BLOCK)).unwrap_or(u32::MAX);
        if milli > self.milli_cpus || blocks > self.blocks {
            let message = format!(
                "a task asks for {cpus} cores and {memory_bytes} bytes of memory; the run has {} and {}",
                f64::from(self.milli_cpus) / MILLI,
                u64::from(self.blocks) * BLOCK,
            );
            return Err(Fault::new(FailureReason::InvalidTaskResourceValue, message));
        }
        let gone = |_| Fault::service("the run is ending");
        // One at a time, so that a large request is not starved by small ones.
        let _turn = self.turn.lock().await;
        let cpus = Arc::clone(&self.cpus_left).acquire_many_owned(milli).await.map_err(gone)?;
        let memory =
            Arc::clone(&self.memory_left).acquire_many_owned(blocks).await.map_err(gone)?;
        Ok(Room { _cpus: cpus, _memory: memory })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_for_room_and_refuses_what_never_fits() {
        let admission = Admission::new(2, 1 << 30);
        let fault = admission.room(3.0, 1).await.expect_err("too large");
        assert_eq!(fault.reason, FailureReason::InvalidTaskResourceValue);
        let first = admission.room(1.5, 1 << 29).await.expect("room");
        let second = admission.room(1.0, 1 << 20);
        tokio::pin!(second);
        assert!(futures::poll!(second.as_mut()).is_pending());
        drop(first);
        second.await.expect("room");
    }
}
