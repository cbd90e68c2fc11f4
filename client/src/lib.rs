//! readvault: command line and library for people and instruments.
//!
//! Speaks the public APIs of a vault and nothing else. Data goes to standard output, progress and
//! messages to standard error; the exit code says what a script should do next.

pub mod cli;
pub mod commands;
pub mod config;
pub mod fault;
pub mod session;
pub mod uri;
