//! The suite that every vault passes, whatever its disk: random operations against a plain model.
//!
//! A [`World`] is a disk that outlives the vaults that are started on it. [`steps`] draws a sequence of
//! operations, power losses and waits among them; [`run`] does them one after the other and compares what
//! can be seen with the model after each. The model is the sole definition of right.

mod campaign;
mod machine;
mod memory;
mod model;
mod step;
mod visible;
mod world;

pub use campaign::Campaign;
pub use machine::{NAMES, NAMES_TABLE, run};
pub use memory::MemoryWorld;
pub use step::{Body, End, Place, Role, Slot, Step, steps};
pub use world::{Parts, Running, World};

#[cfg(test)]
mod tests;
