//! readvaultd: the composition root.
//!
//! Wires the vault, the operations and the APIs behind one port, and starts what must run beside them.
//! Translation and wiring only: no genomic bytes are parsed here, and only `app` names concrete types.

pub mod admin;
pub mod agent_client;
pub mod app;
pub mod backup;
pub mod dev;
pub mod doctor;
pub mod exec_bridge;
pub mod front_door;
pub mod images;
pub mod launcher;
pub mod privileges;
pub mod settings;
mod upkeep;
