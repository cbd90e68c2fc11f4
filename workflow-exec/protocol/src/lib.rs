//! What the server and the node that executes a run say to each other, and the traits that join them.
//!
//! Two conversations, both framed by [`frame`]:
//! - [`agent`]: the server asks a node's agent to start, cancel or list runs and to import images;
//! - [`run`]: the processes of one run ask the server for that run's specification and input bytes, and
//!   report tasks, logs, outputs and the end. A token opens only its own run's recorded inputs.
//!
//! The server answers the second conversation through [`source::ReadSetSource`] and [`sink::OutputSink`].
//! Nothing here carries a key, a path of the vault or a descriptor.

pub mod agent;
pub mod frame;
pub mod run;
pub mod sink;
pub mod source;

/// Version of both conversations. A peer of another version is refused in its `Hello`.
pub const PROTOCOL_VERSION: u32 = 1;
