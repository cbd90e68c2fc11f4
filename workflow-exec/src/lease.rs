//! Uid ranges of runs: 65,536 each, of a pool that nothing else on a node uses.
//!
//! A range is written down and made durable before any process uses it and freed only once nothing of
//! its run is left, so that no range serves two runs at a time, not even over a crash.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::fault::{Doing, Fault};

/// First uid of the pool: outside of subuid, nspawn and directory ranges.
pub const POOL_FIRST: u32 = 1_879_048_192;

/// Last uid of the pool.
pub const POOL_LAST: u32 = 2_147_352_575;

/// Uids of one run.
pub const RANGE: u32 = 65_536;

const SLOTS: u32 = (POOL_LAST - POOL_FIRST + 1) / RANGE;

/// The leases of one agent, kept in a file.
#[derive(Debug)]
pub struct Leases {
    path: PathBuf,
    held: BTreeMap<Uuid, Lease>,
}

/// One run's range and the boot in which it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// First uid.
    pub uid: u32,
    /// The kernel's boot id.
    pub boot_id: String,
}

impl Leases {
    /// Opens the leases in `path`; an absent file holds none.
    ///
    /// # Errors
    /// When the file can't be read or is malformed: then nothing may be leased.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        let held = match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).doing("reading the uid leases")?,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(cause) => return Err(cause).doing("reading the uid leases"),
        };
        Ok(Self { path: path.to_owned(), held })
    }

    /// The runs that hold a range.
    pub fn runs(&self) -> Vec<Uuid> {
        self.held.keys().copied().collect()
    }

    /// Leases a free range to `run`; durable when this returns. `salt` spreads the ranges of agents
    /// that share a node. A run that holds one keeps it.
    ///
    /// # Errors
    /// When all ranges are taken or the file can't be written.
    pub fn take(&mut self, run: Uuid, salt: u32) -> Result<u32, Fault> {
        if let Some(lease) = self.held.get(&run) {
            return Ok(lease.uid);
        }
        let free = (0..SLOTS)
            .map(|step| POOL_FIRST + (salt.wrapping_add(step) % SLOTS) * RANGE)
            .find(|uid| self.held.values().all(|lease| lease.uid != *uid))
            .ok_or_else(|| Fault::service("every uid range of this node is in use"))?;
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        self.held.insert(run, Lease { uid: free, boot_id: boot_id.trim().to_owned() });
        if let Err(fault) = self.save() {
            self.held.remove(&run);
            return Err(fault);
        }
        Ok(free)
    }

    /// Frees the range of `run`, of which nothing may be left. Idempotent.
    ///
    /// # Errors
    /// When the file can't be written; the range stays taken then.
    pub fn free(&mut self, run: Uuid) -> Result<(), Fault> {
        let Some(lease) = self.held.remove(&run) else { return Ok(()) };
        self.save().inspect_err(|_| {
            self.held.insert(run, lease);
        })
    }

    fn save(&self) -> Result<(), Fault> {
        let bytes = serde_json::to_vec_pretty(&self.held).doing("writing the uid leases")?;
        let beside = self.path.with_extension("new");
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&beside)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&beside, &self.path)?;
            File::open(self.path.parent().unwrap_or(Path::new("/")))?.sync_all()
        };
        write().doing("writing the uid leases")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_serves_one_run_and_survives_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("leases.json");
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut leases = Leases::open(&path).expect("open");
        let first = leases.take(a, u32::MAX).expect("a range");
        let second = leases.take(b, u32::MAX).expect("a range");
        assert_ne!(first, second);
        assert_eq!(leases.take(a, 7).expect("the same"), first);
        assert!(first >= POOL_FIRST && second + (RANGE - 1) <= POOL_LAST);
        let mut again = Leases::open(&path).expect("reopen");
        assert_eq!(again.runs(), [a, b]);
        again.free(a).expect("freed");
        again.free(a).expect("idempotent");
        assert_eq!(Leases::open(&path).expect("reopen").runs(), [b]);
    }

    #[test]
    fn a_malformed_file_leases_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("leases.json");
        fs::write(&path, b"{").expect("written");
        assert!(Leases::open(&path).is_err());
    }
}
