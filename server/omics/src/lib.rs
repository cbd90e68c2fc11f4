//! HealthOmics, STS and CloudWatch Logs APIs.
//!
//! Translation only: the gate proves who calls, extractors turn a request into the words of
//! `readvault_ops`, and answers turn what it says into the shapes of each API. No decision about data is
//! made here and no stored byte is parsed.

mod error;
mod gate;
mod json;
mod logs;
mod router;
mod storage;
mod sts;
mod workflow;

pub use error::refused;
pub use router::{Parts, router};
