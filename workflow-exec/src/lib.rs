//! Runs and tasks: agent, supervisor, sandbox, shim, mount.
//!
//! Nothing here holds a key, opens the catalog or serves HTTP. The server starts runs through the
//! [`agent`]; each run has one [`supervisor`] that holds its mount name space and decides everything
//! that the run's own code may ask for (ARCHITECTURE.md).

pub mod agent;
pub mod cgroup;
pub mod doctor;
pub mod fault;
pub mod images;
pub mod lease;
pub mod mount;
pub mod reaper;
pub mod sandbox;
pub mod shim;
pub mod shim_protocol;
pub mod supervisor;
