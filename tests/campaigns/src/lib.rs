//! What long campaigns share: a real vault over a directory, a workload whose acknowledgements are kept
//! outside it, a check of what a reopened vault shows, and observers that fail or record its files.
//!
//! Empty unless the feature `run` is on, which only the tests of this crate turn on.

#![cfg(feature = "run")]
#![allow(clippy::unwrap_used, reason = "a campaign stops at the first surprise")]

pub mod choice;
pub mod crash;
pub mod failing;
pub mod faults;
pub mod history;
pub mod home;
pub mod journal;
pub mod lane;
pub mod oracle;
pub mod parallel;
pub mod place;
pub mod plan;
pub mod record;
pub mod scenario;
pub mod steps;
pub mod verify;
